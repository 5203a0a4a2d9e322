"""Answers that come late, look-ups that prove nothing, two workers at one order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from exchange import gateway as venue
from orders.models import Order
from orders.placement.attempts import NotSent, Result, Step, claim_due_orders, finish_overdue_orders, record
from orders.states import ErrorCode, Status
from testsupport.placement import IMPATIENT, POLICY, answered, claim_one, execute_at, history, let_time_pass, one_round, run_loop
from testsupport.simulator_process import SimulatorProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.simulator(shared=True)]
Accept = Callable[..., Order]


def test_a_late_acknowledgement_wins_over_a_recorded_failure(accept: Accept) -> None:
    order = accept()
    late = answered(claim_one(), venue.Acknowledged("X1"))
    Order.objects.update(may_be_at_exchange=False, sent_valid_until=None)
    let_time_pass(1000)
    finish_overdue_orders()
    assert Order.objects.get().status == Status.FAILED
    record([late], POLICY)
    order.refresh_from_db()
    assert (order.status, order.exchange_order_id, order.error_code, order.error_message) == ("completed", "X1", None, None)
    assert history(order) == ["accepted", "failed", "placed"]


def test_a_late_acknowledgement_of_a_canceled_order_completes_it_and_asks_to_cancel(accept: Accept) -> None:
    order = accept()
    late = answered(claim_one(), venue.Acknowledged("X1"))
    Order.objects.update(
        status="canceled", may_be_at_exchange=False, sent_valid_until=None, next_attempt_at=None, claimed_until=None
    )
    record([late], POLICY)
    order.refresh_from_db()
    assert order.status == Status.COMPLETED
    assert order.cancel_requested_at is not None
    assert order.next_attempt_at is not None, "somebody has to carry the cancel to the exchange"
    assert history(order) == ["accepted", "placed", "cancel_requested"]


def test_the_same_acknowledgement_twice_is_one_event(accept: Accept) -> None:
    order = accept()
    acknowledgement = answered(claim_one(), venue.Acknowledged("X1"))
    record([acknowledgement], POLICY)
    record([acknowledgement], POLICY)
    assert history(order) == ["accepted", "placed"]


@pytest.mark.parametrize("outcome", [venue.Refused("no"), venue.Unavailable("no"), venue.Unknown("?"), NotSent()], ids=repr)
def test_other_late_answers_change_nothing(accept: Accept, outcome: venue.PlacementOutcome | NotSent) -> None:
    order = accept()
    late = answered(claim_one(), outcome)
    let_time_pass(100)
    second = claim_one()
    assert (second.step, second.attempt) == (Step.LOOK_UP, 2)
    record([late], POLICY)
    order.refresh_from_db()
    assert (order.status, order.may_be_at_exchange, order.claimed_until) == ("pending", True, second.claimed_until)
    assert history(order) == ["accepted"]


def test_a_late_answer_does_not_count_after_the_order_was_given_up(accept: Accept) -> None:
    order = accept()
    late = answered(claim_one(), venue.Unknown("no answer"))
    let_time_pass(1000)
    finish_overdue_orders()
    record([late], POLICY)
    order.refresh_from_db()
    assert (order.status, order.error_code, order.may_be_at_exchange) == (Status.ERROR, ErrorCode.OUTCOME_UNKNOWN, True)
    assert history(order) == ["accepted", "error"]


def test_a_404_before_the_send_lands_proves_nothing(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="NEVERFILL___")
    claim = claim_one()
    # The send is still on its way when its sender has stopped waiting.
    valid_until = timezone.now() + timedelta(seconds=30)
    record([Result(claim, venue.Unknown("timeout"), timezone.now(), 5.0, valid_until)], POLICY)
    Order.objects.update(next_attempt_at=timezone.now())
    one_round(simulator.url)
    order.refresh_from_db()
    assert (order.status, order.may_be_at_exchange) == (Status.PENDING, True)
    assert order.next_attempt_at is not None
    assert order.next_attempt_at > valid_until + timedelta(seconds=POLICY.clock_margin_s)
    execute_at(claim, simulator.url)
    assert str(order.id) in simulator.book()
    Order.objects.update(next_attempt_at=timezone.now())
    run_loop(simulator.url)
    order.refresh_from_db()
    assert order.status == Status.COMPLETED
    assert simulator.book()[str(order.id)]["times_received"] == 1


def test_a_404_within_the_clock_margin_proves_nothing(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept()
    record([answered(claim_one(), venue.Unknown("cut"))], POLICY)
    let_time_pass(6)
    one_round(simulator.url)
    order.refresh_from_db()
    assert (order.status, order.may_be_at_exchange) == (Status.PENDING, True)
    assert str(order.id) not in simulator.book()


def test_a_404_after_valid_until_and_the_clock_margin_proves_absence(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept()
    record([answered(claim_one(), venue.Unknown("cut"))], POLICY)
    let_time_pass(8)
    one_round(simulator.url)
    order.refresh_from_db()
    assert (order.status, order.may_be_at_exchange, order.sent_valid_until) == (Status.PENDING, False, None)
    run_loop(simulator.url)
    order.refresh_from_db()
    assert order.status == Status.COMPLETED
    assert simulator.book()[str(order.id)]["times_received"] == 1


@pytest.mark.simulator
def test_a_look_up_that_fails_proves_nothing(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="TIMEOUT_____")
    one_round(simulator.url, IMPATIENT)
    simulator.freeze()
    for _ in range(3):
        let_time_pass(61)
        one_round(simulator.url, IMPATIENT)
        order.refresh_from_db()
        assert (order.status, order.error_code, order.may_be_at_exchange) == ("pending", ErrorCode.OUTCOME_UNKNOWN, True)
    simulator.thaw()
    let_time_pass(61)
    one_round(simulator.url, IMPATIENT)
    order.refresh_from_db()
    assert order.status == Status.COMPLETED
    assert simulator.book()[str(order.id)]["times_received"] == 1
    assert history(order) == ["accepted", *["retrying"] * 4, "placed"]


def test_an_order_that_may_be_there_at_the_end_of_its_time_is_an_error_and_is_still_looked_up(
    simulator: SimulatorProcess, accept: Accept
) -> None:
    there, not_there = accept(instrument="TIMEOUT_____"), accept()
    for claim in claim_due_orders(2, IMPATIENT):
        if claim.order.id == there.id:
            record([execute_at(claim, simulator.url, IMPATIENT)], IMPATIENT)
        else:
            record([answered(claim, venue.Unknown("lost on its way"))], IMPATIENT)
    let_time_pass(1000)
    assert finish_overdue_orders() == 2
    assert {order.status for order in Order.objects.all()} == {Status.ERROR}
    one_round(simulator.url)
    there.refresh_from_db()
    not_there.refresh_from_db()
    assert there.status == Status.COMPLETED
    assert (not_there.status, not_there.error_code) == (Status.FAILED, ErrorCode.EXCHANGE_UNAVAILABLE)
    assert str(not_there.id) not in simulator.book(), "after give_up_at it is looked up, never sent"


def test_looking_up_an_error_for_days_does_not_fill_the_history(accept: Accept) -> None:
    order = accept()
    record([answered(claim_one(), venue.Unknown("cut"))], POLICY)
    let_time_pass(1000)
    finish_overdue_orders()
    for _ in range(5):
        record([answered(claim_one(), venue.Unknown("still away"))], POLICY)
        order.refresh_from_db()
        assert order.next_attempt_at is not None
        assert order.next_attempt_at > timezone.now() + timedelta(seconds=50)
        let_time_pass(61)
    assert history(order) == ["accepted", "retrying", "error"]


def test_two_workers_never_claim_the_same_order(accept: Accept) -> None:
    ids = {accept().id for _ in range(40)}

    def claim(_: int) -> list[object]:
        try:
            return [claim.order.id for claim in claim_due_orders(10, POLICY)]
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        claimed = [id for found in pool.map(claim, range(8)) for id in found]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) <= ids
    claimed += [claim.order.id for claim in claim_due_orders(100, POLICY)]
    assert sorted(map(str, claimed)) == sorted(map(str, ids))
    assert claim_due_orders(100, POLICY) == []


def test_the_oldest_due_order_is_claimed_first(accept: Accept) -> None:
    orders = [accept() for _ in range(5)]
    assert [claim_due_orders(1, POLICY)[0].order.id for _ in range(5)] == [order.id for order in orders]


def test_a_result_that_cannot_be_stored_does_not_keep_the_others_from_it(accept: Accept) -> None:
    orders = [accept() for _ in range(3)]
    claims = claim_due_orders(3, POLICY)
    ids = ["X1", "far too long for an exchange's order id " * 3, "X3"]
    record([answered(claim, venue.Acknowledged(id)) for claim, id in zip(claims, ids, strict=True)], POLICY)
    for order in orders:
        order.refresh_from_db()
    assert [order.status for order in orders] == ["completed", "error", "completed"]
    assert (orders[1].error_code, orders[1].may_be_at_exchange) == (ErrorCode.INTERNAL_ERROR, True)
    assert history(orders[1]) == ["accepted", "error"]
