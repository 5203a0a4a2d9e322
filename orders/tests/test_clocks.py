"""Machines whose clock is wrong: they leave orders to the others, and say so; the database's clock decides what is due."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from exchange import gateway as venue
from infrastructure.database import clock
from infrastructure.database.clock import ClockWrong, DatabaseClock, OurClock, read_clock
from orders.models import Order, PlacementWorker
from orders.placement.attempts import Claim, claim_due_orders, finish_overdue_orders, record
from orders.placement.cancel import cancel_order
from orders.placement.manual_retry import retry_orders
from orders.placement.sweep import Sweep
from orders.states import ErrorCode, ExecutionStatus, Status
from testsupport.api_calls import MARKET, NOTHING, client_for, post, stored
from testsupport.placement import POLICY, claim_one, execute_at, execute_with, run_loop
from testsupport.simulator_process import SimulatorProcess

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]
SetClock = Callable[[float], None]
HOUR_S = 3600.0
right_now = timezone.now


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets our clock so many seconds wrong; the database's goes on."""

    def set_wrong(by_s: float) -> None:
        monkeypatch.setattr("django.utils.timezone.now", lambda: right_now() + timedelta(seconds=by_s))

    return set_wrong


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def clock_lines(logged: list[Any]) -> list[str]:
    return [line["event"] for line in logged if line["event"].startswith("clock_")]


def roughly(text: str | None) -> str:
    """On a busy machine half of the round trip may be more than the last digit."""
    return re.sub(r"(3599|3600)\.\d s", "an hour", text or "")


def soon() -> datetime:
    return right_now() + timedelta(seconds=60)


@pytest.mark.parametrize(("wrong_s", "words"), [(HOUR_S, "an hour ahead of"), (-HOUR_S, "an hour behind")])
def test_a_worker_whose_clock_is_wrong_claims_nothing_and_says_so_until_it_is_right(
    accept: Accept, simulator: SimulatorProcess, set_clock: SetClock, logged: list[Any], wrong_s: float, words: str
) -> None:
    orders = [accept(), accept(expires_at=soon())]
    wake_ups = OrmQ.objects.count()
    set_clock(wrong_s)
    for _ in range(2):
        assert run_loop(simulator.url, run_for_s=0.3) == 0
    assert set(Order.objects.values_list("status", "attempt_count")) == {(Status.PENDING, 0)}
    assert OrmQ.objects.count() == wake_ups, "others can use them"
    worker = PlacementWorker.objects.get()
    assert roughly(worker.problem) == f"its clock is {words} the database's: it claims nothing"
    assert worker.clock_offset_s == pytest.approx(wrong_s, abs=1)
    assert abs(worker.said_at - right_now()) < timedelta(seconds=60), "it says so by the database's clock"
    set_clock(0)
    run_loop(simulator.url)
    assert simulator.book().keys() == {str(order.id) for order in orders}
    assert PlacementWorker.objects.get().problem is None
    assert clock_lines(logged) == ["clock_wrong", "clock_right"]


@pytest.mark.parametrize("wrong_s", [HOUR_S, -HOUR_S])
def test_the_sweep_judges_by_the_databases_clock(accept: Accept, set_clock: SetClock, wrong_s: float) -> None:
    accept(expires_at=soon())
    waiting, over = accept(), accept()
    Order.objects.filter(id=waiting.id).update(next_attempt_at=soon())
    Order.objects.filter(id=over.id).update(give_up_at=right_now() - timedelta(seconds=1))
    set_clock(wrong_s)
    Sweep().run_once()
    assert set(Order.objects.exclude(id=over.id).values_list("status", flat=True)) == {Status.PENDING}
    over.refresh_from_db()
    assert over.status == Status.FAILED


def test_orders_whose_time_is_not_over_are_left_by_a_clock_that_is_ahead(accept: Accept, set_clock: SetClock) -> None:
    accept(expires_at=soon())
    set_clock(HOUR_S)
    assert finish_overdue_orders() == 0


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_clock_that_jumps_after_the_claim_changes_neither_deadlines_nor_what_is_recorded(
    accept: Accept, simulator: SimulatorProcess, set_clock: SetClock, jump_s: float
) -> None:
    order = accept()
    claim = claim_one()
    set_clock(jump_s)
    result = execute_at(claim, simulator.url)
    assert result.outcome == venue.Acknowledged(simulator.book()[str(order.id)]["exchange_order_id"])
    assert result.sent_valid_until is not None
    assert abs(result.sent_valid_until - right_now()) < timedelta(seconds=60)
    record([result], POLICY)
    order.refresh_from_db()
    assert order.placed_at is not None
    assert abs(order.placed_at - right_now()) < timedelta(seconds=60)


class JumpingExchange:
    """Takes every order; meanwhile our clock is set."""

    def __init__(self, set_clock: SetClock) -> None:
        self.set_clock = set_clock

    async def place(self, placement: venue.Placement) -> venue.PlacementOutcome:
        self.set_clock(HOUR_S)
        return venue.Acknowledged("X1")

    async def look_up(self, placement: venue.Placement) -> venue.LookUpOutcome:
        return venue.NotFound()

    async def cancel(self, client_order_id: str) -> venue.CancelOutcome:
        return venue.NotFound()

    async def close(self) -> None: ...


def test_a_clock_that_jumps_during_a_call_does_not_make_the_call_long(accept: Accept, set_clock: SetClock) -> None:
    accept()
    assert 0 <= execute_with(JumpingExchange(set_clock), claim_one()).took_s < HOUR_S / 2


def test_a_claim_that_ended_sends_nothing_whatever_our_clock_says(
    accept: Accept, simulator: SimulatorProcess, set_clock: SetClock
) -> None:
    accept()
    claim = claim_one()
    began = claim.clock
    # As if the process had been stopped for a minute, and the clock then set back by that.
    later = replace(began, asked_at=began.asked_at + timedelta(seconds=60))
    set_clock(-60)
    record([execute_at(replace(claim, clock=later), simulator.url)], POLICY)
    assert simulator.book() == {}


def test_what_a_person_asks_for_is_due_by_the_databases_clock(accept: Accept, set_clock: SetClock) -> None:
    failed, placed = accept(), accept()
    Order.objects.filter(id=failed.id).update(
        status=Status.FAILED, next_attempt_at=None, error_code=ErrorCode.EXCHANGE_UNAVAILABLE, error_message="away"
    )
    Order.objects.filter(id=placed.id).update(
        status=Status.COMPLETED,
        next_attempt_at=None,
        exchange_order_id="X1",
        placed_at=right_now(),
        execution_status=ExecutionStatus.NEW,
    )
    set_clock(HOUR_S)
    retry_orders([failed.id], requested_by="dora")
    cancel_order(placed.id, requested_by="anna")
    set_clock(0)
    assert {claim.order.id for claim in claim_due_orders(10, POLICY)} == {failed.id, placed.id}
    failed.refresh_from_db()
    assert failed.give_up_at < right_now() + timedelta(seconds=POLICY.give_up_after_s)


def test_an_answer_that_was_long_on_its_way_proves_no_wrong_clock() -> None:
    slow = DatabaseClock(right_now(), clock.steady_s(), offset_s=3.0, uncertainty_s=1.5)
    assert not slow.is_wrong
    assert replace(slow, uncertainty_s=0.5).is_wrong


def test_our_clock_is_known_to_half_the_round_trip(set_clock: SetClock) -> None:
    set_clock(HOUR_S)
    measured = read_clock()
    assert abs(measured.offset_s - HOUR_S) <= measured.uncertainty_s + 0.01
    assert abs(measured.now() - right_now()) < timedelta(seconds=60)


@pytest.mark.parametrize(("path", "body"), [("/orders", MARKET), ("/orders/batch", [MARKET])])
@pytest.mark.parametrize("wrong_s", [HOUR_S, -HOUR_S])
def test_a_web_server_whose_clock_is_wrong_accepts_nothing(
    account: Any, set_clock: SetClock, path: str, body: Any, wrong_s: float
) -> None:
    client = client_for(account)
    assert client.get("/orders").status_code == 200
    set_clock(wrong_s)
    answer = post(client, body, path)
    direction = "ahead of" if wrong_s > 0 else "behind"
    assert answer.status_code == 503
    assert roughly(answer.json()["detail"]) == (
        f"This server's clock is an hour {direction} the database's, so it accepts no orders. "
        "Nothing was stored: repeat the request."
    )
    assert answer.headers["Retry-After"] == "5"
    assert stored() == NOTHING
    set_clock(0)
    assert post(client, body, path).status_code == 202, "it is noticed at once that the clock was set"


def test_the_trading_page_accepts_nothing_either(client: Any, account: Any, set_clock: SetClock) -> None:
    client.force_login(account)
    set_clock(HOUR_S)
    answer = client.post("/", MARKET)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert stored() == NOTHING


def test_accepting_does_not_ask_for_the_time_with_each_order(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "MEASURE_EVERY_S", HOUR_S)
    accept()
    with CaptureQueriesContext(connection) as captured:
        for _ in range(20):
            accept()
    assert not [query for query in captured.captured_queries if query["sql"].startswith("SELECT clock_timestamp()")]


def test_our_clock_is_measured_again_when_that_was_long_ago_or_when_it_was_set(
    set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = OurClock()

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            ours.ensure_right()
        return len(captured)

    monkeypatch.setattr(clock, "MEASURE_EVERY_S", HOUR_S)
    assert [queries(), queries()] == [1, 0]
    set_clock(-1.5)
    assert [queries(), queries()] == [1, 0], "set, though by less than the margin"
    monkeypatch.setattr(clock, "MEASURE_EVERY_S", 0.0)
    assert queries() == 1
    set_clock(HOUR_S)
    for _ in range(2):
        with pytest.raises(ClockWrong):
            ours.ensure_right()


def test_a_server_whose_clock_is_wrong_is_not_ready(client: Any, set_clock: SetClock) -> None:
    set_clock(-HOUR_S)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert roughly(answer.json()["problems"]["clock"]) == "This server's clock is an hour behind the database's."
    set_clock(0)
    assert client.get("/health/ready").status_code == 200


def test_a_claim_by_whoever_has_a_wrong_clock_is_refused(accept: Accept, set_clock: SetClock) -> None:
    accept()
    set_clock(HOUR_S)
    with pytest.raises(ClockWrong):
        claim_due_orders(1, POLICY)


def test_a_claim_ends_by_the_databases_clock(accept: Accept, set_clock: SetClock) -> None:
    """Below the margin: what is stored is the database's time all the same."""
    accept()
    set_clock(-1.9)
    claim: Claim = claim_one()
    assert claim.claimed_until > right_now() + timedelta(seconds=POLICY.lease_s - 1)
