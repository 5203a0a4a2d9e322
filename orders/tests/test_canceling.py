"""A cancel at every moment of an order's life ends in one true state, here and at the exchange."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from exchange import gateway as venue
from exchange.reports import ReportType
from orders.executions.reports import apply_reports
from orders.models import Order
from orders.placement.attempts import Step, claim_due_orders, finish_overdue_orders, record
from orders.placement.cancel import TooLateToCancel, cancel_order
from orders.states import ExecutionStatus, Status
from orders.tests.following import follow_until_settled
from orders.tests.reporting import report
from testsupport.placement import IMPATIENT, POLICY, answered, claim_one, execute_at, history, let_time_pass, one_round, run_loop
from testsupport.simulator_process import SimulatorProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.simulator(shared=True)]
Accept = Callable[..., Order]


# Fills nothing while a test runs.
SLOW = pytest.mark.simulator(shared=True, latency=3, fill_interval=3)


@dataclass
class Desk:
    """Cancels over HTTP as the account that owns the order."""

    client: Client

    def cancel(self, order: Order) -> int:
        return int(self.client.post(f"/orders/{order.id}/cancel").status_code)


@pytest.fixture
def desk(account: Any, client: Client, settings: Any) -> Desk:
    settings.ANONYMOUS_ACCOUNT = account.username
    return Desk(client)


def test_an_order_that_waits_is_canceled_at_once_and_never_sent(desk: Desk, simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept()
    assert desk.cancel(order) == 200
    assert run_loop(simulator.url) == 0
    order.refresh_from_db()
    assert order.status == Status.CANCELED
    assert history(order) == ["accepted", "cancel_requested", "canceled"]
    assert order.events.get(type="cancel_requested").data["by"] == "anna"
    assert str(order.id) not in simulator.book()
    assert desk.cancel(order) == 409


def test_an_order_that_waits_for_its_next_attempt_is_canceled_at_once(
    desk: Desk, simulator: SimulatorProcess, accept: Accept
) -> None:
    order = accept(instrument="OFFLINE_____")
    one_round(simulator.url)
    assert desk.cancel(order) == 200
    let_time_pass(61)
    assert run_loop(simulator.url) == 0


def test_a_failed_order_is_canceled_so_that_nobody_revives_it(desk: Desk, simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="REFUSE______")
    run_loop(simulator.url)
    assert desk.cancel(order) == 200
    order.refresh_from_db()
    assert order.status == Status.CANCELED


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (venue.Refused("no"), Status.CANCELED),
        (venue.Unavailable("busy"), Status.CANCELED),
        (venue.Acknowledged("X1"), Status.COMPLETED),
        (venue.Unknown("cut"), Status.PENDING),
    ],
    ids=repr,
)
def test_a_claimed_order_ends_its_call_first(desk: Desk, accept: Accept, outcome: venue.PlacementOutcome, status: Status) -> None:
    order = accept()
    claim = claim_one()
    assert desk.cancel(order) == 202
    assert claim_due_orders(1, POLICY) == [], "the cancel does not break into the claim"
    record([answered(claim, outcome)], POLICY)
    order.refresh_from_db()
    assert order.status == status
    assert (order.cancel_requested_at is None) == (status == Status.CANCELED)
    if status == Status.COMPLETED:
        assert claim_one().step is Step.CANCEL


@SLOW
def test_an_order_of_unknown_outcome_is_looked_up_and_then_canceled_there(
    desk: Desk, simulator: SimulatorProcess, accept: Accept
) -> None:
    order = accept(instrument="TIMEOUT_____")
    one_round(simulator.url, IMPATIENT)
    assert desk.cancel(order) == 202
    run_loop(simulator.url)
    order.refresh_from_db()
    assert (order.status, order.execution_status) == (Status.COMPLETED, ExecutionStatus.PENDING_CANCEL)
    follow_until_settled(simulator.url)
    order.refresh_from_db()
    assert order.execution_status == ExecutionStatus.CANCELED
    assert simulator.book()[str(order.id)]["status"] == "canceled"


def test_an_order_that_proves_absent_is_canceled_without_being_sent(
    desk: Desk, simulator: SimulatorProcess, accept: Accept
) -> None:
    order = accept()
    record([answered(claim_one(), venue.Unknown("cut"))], POLICY)
    assert desk.cancel(order) == 202
    let_time_pass(10)
    run_loop(simulator.url)
    order.refresh_from_db()
    assert order.status == Status.CANCELED
    assert str(order.id) not in simulator.book()


def test_a_crashed_claim_does_not_hold_a_cancel_up_for_ever(desk: Desk, simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept()
    claim_one()
    assert desk.cancel(order) == 202
    let_time_pass(70)
    run_loop(simulator.url)
    order.refresh_from_db()
    assert order.status == Status.CANCELED


@SLOW
def test_a_cancel_outlives_the_order_s_time(desk: Desk, simulator: SimulatorProcess, accept: Accept) -> None:
    there, never_sent = accept(instrument="TIMEOUT_____"), accept()
    [claim, other] = claim_due_orders(2, IMPATIENT)
    record([execute_at(claim, simulator.url, IMPATIENT), answered(other, venue.Unknown("lost"))], IMPATIENT)
    assert (desk.cancel(there), desk.cancel(never_sent)) == (202, 202)
    let_time_pass(1000)
    finish_overdue_orders()
    run_loop(simulator.url)
    there.refresh_from_db()
    never_sent.refresh_from_db()
    assert (there.status, there.execution_status) == (Status.COMPLETED, ExecutionStatus.PENDING_CANCEL)
    assert never_sent.status == Status.CANCELED


@pytest.mark.parametrize("instrument", ["NEVERFILL___", "PARTIAL_____"])
def test_a_placed_order_is_canceled_at_the_exchange(
    desk: Desk, simulator: SimulatorProcess, accept: Accept, instrument: str
) -> None:
    order = accept(instrument=instrument)
    run_loop(simulator.url)
    expected = 0 if instrument == "NEVERFILL___" else 50
    follow_until_settled(simulator.url, lambda: Order.objects.get().filled_quantity == expected)
    assert desk.cancel(order) == 202
    assert desk.cancel(order) == 202
    run_loop(simulator.url)
    follow_until_settled(simulator.url)
    order.refresh_from_db()
    book = simulator.book()[str(order.id)]
    assert (order.execution_status, order.filled_quantity) == (book["status"], book["filled_quantity"])
    assert order.execution_status == ExecutionStatus.CANCELED
    assert (order.cancel_requested_at, order.next_attempt_at) == (None, None)
    assert desk.cancel(order) == 409
    # Each is told once: that somebody wants it, that the exchange has the request, and what came of it.
    assert history(order)[-3:] == ["cancel_requested", "pending_cancel", "canceled"]


def test_a_filled_order_is_too_late_to_cancel(desk: Desk, simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept()
    run_loop(simulator.url)
    follow_until_settled(simulator.url)
    answer = desk.client.post(f"/orders/{order.id}/cancel")
    assert (answer.status_code, answer.json()) == (409, {"detail": "The order is filled; there is nothing to cancel."})


def test_an_order_that_was_filled_before_we_know_it_is_not_canceled(
    desk: Desk, simulator: SimulatorProcess, accept: Accept
) -> None:
    order = accept()
    run_loop(simulator.url)
    follow_until_settled(simulator.url, lambda: simulator.book()[str(order.id)]["status"] == "filled", apply=False)
    assert desk.cancel(order) == 202
    run_loop(simulator.url)
    order.refresh_from_db()
    assert (order.execution_status, order.cancel_requested_at) == (ExecutionStatus.NEW, None)
    assert history(order)[-1] == "cancel_rejected"
    follow_until_settled(simulator.url)
    order.refresh_from_db()
    assert order.execution_status == ExecutionStatus.FILLED


@pytest.mark.simulator
def test_a_cancel_waits_for_an_exchange_that_is_away(desk: Desk, simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="NEVERFILL___")
    run_loop(simulator.url)
    simulator.kill()
    assert desk.cancel(order) == 202
    one_round(simulator.url)
    order.refresh_from_db()
    assert order.cancel_requested_at is not None
    assert order.next_attempt_at is not None
    simulator.start()
    let_time_pass(61)
    run_loop(simulator.url)
    follow_until_settled(simulator.url)
    order.refresh_from_db()
    assert order.execution_status == ExecutionStatus.CANCELED


def test_a_fill_that_comes_while_the_cancel_is_carried_wins(desk: Desk, accept: Accept, simulator: SimulatorProcess) -> None:
    order = accept()
    run_loop(simulator.url)
    assert desk.cancel(order) == 202
    claim = claim_one()
    follow_until_settled(simulator.url)
    record([answered(claim, venue.CancelRequested())], POLICY)
    order.refresh_from_db()
    assert order.execution_status == ExecutionStatus.FILLED


def test_a_hundred_cancels_and_placements_at_once_end_in_one_state_each(accept: Accept, simulator: SimulatorProcess) -> None:
    orders = [accept(instrument="NEVERFILL___") for _ in range(100)]
    simulator.control(latency=0.05)

    def cancel(order: Order) -> None:
        try:
            cancel_order(order.id, requested_by="anna")
        except TooLateToCancel:
            raise AssertionError("nothing fills here") from None
        finally:
            connection.close()

    with ThreadPoolExecutor(5) as pool:
        placing = pool.submit(run_loop, simulator.url)
        for canceling in [pool.submit(cancel, order) for order in orders]:
            canceling.result()
        placing.result()
    simulator.control(latency=0)
    run_loop(simulator.url)
    follow_until_settled(simulator.url)
    book = simulator.book()
    for order in orders:
        order.refresh_from_db()
        state = order.execution_status or order.status
        assert (state, order.next_attempt_at) == ("canceled", None)
        assert book.get(str(order.id), {"status": "canceled"})["status"] == "canceled"


def test_a_rejected_cancel_leads_back_to_where_the_order_was(accept: Accept) -> None:
    order = accept()
    apply_reports([report(order, 1, ReportType.PARTIALLY_FILLED, 40)], "s1")
    Order.objects.update(execution_status="pending_cancel")
    apply_reports([report(order, 2, ReportType.CANCEL_REJECTED, reason="too late")], "s1")
    order.refresh_from_db()
    assert order.execution_status == ExecutionStatus.PARTIALLY_FILLED
    assert history(order)[-1] == "cancel_rejected"
    assert order.updated_at <= timezone.now()


def test_an_id_that_the_exchange_has_with_other_terms_is_not_canceled_there(desk: Desk, accept: Accept) -> None:
    order = accept()
    record([answered(claim_one(), venue.TermsConflict("quantity"))], POLICY)
    assert desk.cancel(order) == 202
    claim = claim_one()
    assert claim.step is Step.LOOK_UP
    record([answered(claim, venue.TermsConflict("quantity"))], POLICY)
    order.refresh_from_db()
    assert (order.status, order.cancel_requested_at, order.next_attempt_at) == (Status.ERROR, None, None)
    assert history(order) == ["accepted", "error", "cancel_requested", "error", "cancel_rejected"]


def test_a_pending_cancel_can_be_asked_for_again(desk: Desk, simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="NEVERFILL___")
    run_loop(simulator.url)
    Order.objects.update(execution_status="pending_cancel")
    assert desk.cancel(order) == 202
    run_loop(simulator.url)
    follow_until_settled(simulator.url)
    order.refresh_from_db()
    assert order.execution_status == ExecutionStatus.CANCELED
    assert "cancel_requested" not in history(order), "it was asked for before, and that is not news"


def test_a_rejection_that_is_faster_than_the_recording_of_its_request_is_final(desk: Desk, accept: Accept) -> None:
    order = accept()
    apply_reports([report(order, 1, ReportType.NEW)], "s1")
    assert desk.cancel(order) == 202
    claim = claim_one()
    apply_reports([report(order, 2, ReportType.CANCEL_REJECTED, reason="closed")], "s1")
    record([answered(claim, venue.CancelRequested())], POLICY)
    order.refresh_from_db()
    assert (order.execution_status, order.cancel_requested_at, order.next_attempt_at) == (ExecutionStatus.NEW, None, None)


def test_a_result_that_cannot_be_stored_leaves_a_waiting_cancel_waiting(desk: Desk, accept: Accept) -> None:
    order = accept()
    claim = claim_one()
    assert desk.cancel(order) == 202
    record([answered(claim, venue.Acknowledged("far too long for an exchange's order id " * 3))], POLICY)
    order.refresh_from_db()
    assert order.status == Status.ERROR
    assert order.cancel_requested_at is not None
    let_time_pass(61)
    assert claim_one().step is Step.LOOK_UP
