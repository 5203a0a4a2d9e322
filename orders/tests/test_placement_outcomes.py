"""Every outcome of a placement, at the simulated exchange over a real socket."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from orders.models import Order
from orders.placement.attempts import finish_overdue_orders, record
from orders.states import ErrorCode, ExecutionStatus, Status
from testsupport.placement import IMPATIENT, POLICY, claim_one, execute_at, history, let_time_pass, one_round, run_loop
from testsupport.simulator_process import SimulatorProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.simulator(shared=True)]
Accept = Callable[..., Order]


def test_an_acknowledged_order_is_completed(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept()
    run_loop(simulator.url)
    order.refresh_from_db()
    assert (order.status, order.execution_status) == (Status.COMPLETED, ExecutionStatus.NEW)
    assert order.exchange_order_id == simulator.book()[str(order.id)]["exchange_order_id"]
    assert (order.attempt_count, order.next_attempt_at, order.claimed_until, order.may_be_at_exchange) == (1, None, None, False)
    assert history(order) == ["accepted", "placed"]
    assert order.events.get(type="placed").data["attempt"] == 1


def test_the_exchange_gets_the_terms_of_the_order(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(type="limit", side="sell", instrument="TSLA_2025_06", limit_price="250.50", quantity=50)
    run_loop(simulator.url)
    placed = simulator.book()[str(order.id)]
    terms = [placed[name] for name in ("type", "side", "instrument", "limit_price", "quantity", "account")]
    assert terms == ["limit", "sell", "TSLA_2025_06", "250.50", 50, str(order.account_id)]


def test_a_refused_order_fails_for_good(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="REFUSE______")
    run_loop(simulator.url)
    order.refresh_from_db()
    assert (order.status, order.error_code) == (Status.FAILED, ErrorCode.REFUSED_BY_EXCHANGE)
    assert order.error_message is not None
    assert order.error_message.startswith("The exchange refused the order: ")
    assert (order.next_attempt_at, order.may_be_at_exchange) == (None, False)
    assert history(order) == ["accepted", "failed"]
    assert str(order.id) not in simulator.book()


def test_an_order_that_is_not_taken_is_tried_again_until_its_time_is_over(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="OFFLINE_____")
    for _ in range(3):
        assert run_loop(simulator.url) >= 1
        let_time_pass(61)
    order.refresh_from_db()
    assert (order.status, order.error_code) == (Status.PENDING, ErrorCode.EXCHANGE_UNAVAILABLE)
    assert not order.may_be_at_exchange
    let_time_pass(900)
    assert run_loop(simulator.url) == 0, "nothing is sent after give_up_at"
    assert finish_overdue_orders() == 1
    order.refresh_from_db()
    assert (order.status, order.error_code, order.next_attempt_at) == (Status.FAILED, ErrorCode.EXCHANGE_UNAVAILABLE, None)
    assert history(order)[-1] == "failed"
    assert str(order.id) not in simulator.book()


def test_an_order_taken_without_an_answer_is_found_by_looking_it_up(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="TIMEOUT_____")
    one_round(simulator.url, IMPATIENT)
    order.refresh_from_db()
    assert (order.status, order.error_code, order.may_be_at_exchange) == (Status.PENDING, ErrorCode.OUTCOME_UNKNOWN, True)
    let_time_pass(61)
    run_loop(simulator.url, IMPATIENT)
    order.refresh_from_db()
    assert order.status == Status.COMPLETED
    assert history(order) == ["accepted", "retrying", "placed"]
    assert order.events.get(type="placed").data["looked_up"] is True
    assert simulator.book()[str(order.id)]["times_received"] == 1


def test_a_cut_connection_neither_loses_nor_doubles_an_order(simulator: SimulatorProcess, accept: Accept) -> None:
    orders = [accept() for _ in range(20)]
    simulator.control(cut_rate=1)
    one_round(simulator.url)
    taken_before_the_cut = {id for id in simulator.book() if id in {str(order.id) for order in orders}}
    assert 0 < len(taken_before_the_cut) < 20
    assert {order.status for order in Order.objects.all()} == {Status.PENDING}
    simulator.control(cut_rate=0)
    for _ in range(5):
        let_time_pass(61)
        run_loop(simulator.url)
    assert {order.status for order in Order.objects.all()} == {Status.COMPLETED}
    assert {simulator.book()[str(order.id)]["times_received"] for order in orders} == {1}


@pytest.mark.simulator
def test_an_exchange_that_cannot_be_reached_delays_orders_and_no_more(simulator: SimulatorProcess, accept: Accept) -> None:
    simulator.kill()
    orders = [accept() for _ in range(30)]
    run_loop(simulator.url, run_for_s=0.2)
    assert {order.status for order in Order.objects.all()} == {Status.PENDING}
    assert not Order.objects.filter(may_be_at_exchange=True).exists()
    simulator.start()
    let_time_pass(61)
    run_loop(simulator.url)
    assert {order.status for order in Order.objects.all()} == {Status.COMPLETED}
    assert {simulator.book()[str(order.id)]["times_received"] for order in orders} == {1}


def test_an_id_that_the_exchange_has_with_other_terms_is_left_to_a_person(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="NEVERFILL___")
    run_loop(simulator.url)
    # As if our table had been tampered with, and the order was to be sent once more.
    Order.objects.update(
        status="pending",
        execution_status=None,
        quantity=7,
        next_attempt_at=timezone.now(),
        exchange_order_id=None,
        placed_at=None,
    )
    order.events.filter(type="placed").delete()
    run_loop(simulator.url)
    order.refresh_from_db()
    assert (order.status, order.error_code) == (Status.ERROR, ErrorCode.INTERNAL_ERROR)
    assert order.error_message is not None
    assert "other terms" in order.error_message
    assert (order.next_attempt_at, order.may_be_at_exchange) == (None, True)


def test_nothing_is_sent_after_the_order_has_expired(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(expires_at=timezone.now() + timedelta(seconds=30))
    let_time_pass(31)
    assert run_loop(simulator.url) == 0
    finish_overdue_orders()
    order.refresh_from_db()
    assert (order.status, order.error_code) == (Status.FAILED, ErrorCode.EXPIRED_BEFORE_PLACEMENT)
    assert str(order.id) not in simulator.book()


def test_the_exchange_is_told_not_to_take_the_order_after_it_has_expired(accept: Accept) -> None:
    expires_at = timezone.now() + timedelta(seconds=2)
    accept(expires_at=expires_at)
    result = execute_at(claim_one(), "http://127.0.0.1:9", POLICY)
    assert result.sent_valid_until == expires_at


def test_a_claim_with_too_little_left_of_its_lease_sends_nothing(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept()
    claim = claim_one()
    let_time_pass(55)
    held_up = replace(claim, order=Order.objects.get(), claimed_until=claim.claimed_until - timedelta(seconds=55))
    record([execute_at(held_up, simulator.url)], POLICY)
    order.refresh_from_db()
    assert (order.status, order.may_be_at_exchange, order.claimed_until) == (Status.PENDING, False, None)
    assert order.next_attempt_at is not None
    assert order.next_attempt_at <= timezone.now()
    assert str(order.id) not in simulator.book()


def test_two_hundred_slow_placements_take_no_longer_than_one(simulator: SimulatorProcess, accept: Accept) -> None:
    for _ in range(200):
        accept()
    simulator.control(latency=0.5)
    assert run_loop(simulator.url) == 200
    took_ms = [order.events.get(type="placed").data["took_ms"] for order in Order.objects.all()]
    assert min(took_ms) >= 500
    first, last = Order.objects.order_by("placed_at")[0], Order.objects.order_by("-placed_at")[0]
    assert first.placed_at is not None
    assert last.placed_at
    assert (last.placed_at - first.placed_at).total_seconds() < 10, "one after another would have taken 100 s"
