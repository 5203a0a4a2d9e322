"""Halts: nothing new is accepted, nothing is sent, and everything else goes on; afterwards no order has lost any time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from orders.models import Halt, Order, SafetyEvent
from orders.placement.attempts import Step, claim_due_orders, finish_overdue_orders, record
from orders.placement.cancel import cancel_order
from orders.placement.manual_retry import retry_orders
from orders.placement.sweep import Sweep
from orders.rendering import moment
from orders.risk.switches import AlreadyHalted, NotHalted, confirm_halts, halt_trading, release_orders
from orders.states import ExecutionStatus, Status
from orders.tests.desk import refuse
from orders.tests.following import follow_until_settled
from orders.tests.halting import halt, resume
from testsupport.api_calls import MARKET, NOTHING, client_for, post, stored
from testsupport.placement import POLICY, claim_one, execute_at, history, let_time_pass, many_like, one_round, run_loop
from testsupport.simulator_process import SimulatorProcess
from testsupport.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.simulator(shared=True)]
Accept = Callable[..., Order]
ALL_HALTED = {"detail": "Trading is halted: no new orders are accepted.", "code": "trading_halted"}
INSTRUMENT_HALTED = {"instrument": ["Trading in this instrument is halted."], "code": "trading_halted"}


def moments(begun: Halt) -> dict[str, str | None]:
    """As a refusal tells them."""
    return {"halted_since": moment(begun.started_at), "confirmed_at": moment(begun.confirmed_at)}


@pytest.mark.parametrize("scope", ["all", "account", "instrument"])
def test_nothing_new_is_accepted_or_stored(account: Any, scope: str) -> None:
    client = client_for(account)
    known = post(client, MARKET | {"client_order_id": "known"})
    before = stored()
    begun = halt(**{"all": {}, "account": {"account": account}, "instrument": {"instrument": MARKET["instrument"]}}[scope])
    problem = (INSTRUMENT_HALTED if scope == "instrument" else ALL_HALTED) | moments(begun)
    answer = post(client, MARKET | {"client_order_id": "new"})
    assert (answer.status_code, answer.json()) == (422, problem)
    batch = post(client, [MARKET, MARKET], "/orders/batch")
    assert (batch.status_code, batch.json()) == (422, {"0": problem, "1": problem} if scope == "instrument" else problem)
    again = post(client, MARKET | {"client_order_id": "known"})
    assert (again.status_code, again.json()) == (200, known.json())
    assert post(client, MARKET | {"client_order_id": "known", "quantity": 1}).status_code == 409
    assert stored() == before


def test_what_a_halt_does_not_name_goes_on(account: Any, django_user_model: Any) -> None:
    bert = django_user_model.objects.create_user("bert")
    halt(account=bert)
    begun = halt(instrument="TSLA_2025_06")
    client = client_for(account)
    other = MARKET | {"instrument": "TSLA_2025_06"}
    assert post(client, MARKET).status_code == 202
    assert (post(client_for(bert), MARKET).status_code, post(client, other).status_code) == (422, 422)
    batch = post(client, [MARKET, other], "/orders/batch")
    assert (batch.status_code, batch.json()) == (422, {"1": INSTRUMENT_HALTED | moments(begun)})


def test_a_refusal_tells_since_when_trading_is_halted_and_since_when_that_is_confirmed(account: Any) -> None:
    client = client_for(account)
    first, second = halt(account=account), halt()
    assert post(client, MARKET).json() == ALL_HALTED | moments(first)
    confirm_halts()
    both = Halt.objects.order_by("id")
    confirmed = min(begun.confirmed_at for begun in both if begun.confirmed_at is not None)
    told = moments(first) | {"confirmed_at": moment(confirmed)}
    assert post(client, MARKET).json() == ALL_HALTED | told
    assert post(client, [MARKET], "/orders/batch").json() == ALL_HALTED | told
    resume()
    resume(account=account)
    third = halt(instrument=MARKET["instrument"])
    confirm_halts()
    third.refresh_from_db()
    assert third.confirmed_at is not None
    assert post(client, MARKET).json() == INSTRUMENT_HALTED | moments(third)
    assert post(client, [MARKET], "/orders/batch").json() == {"0": INSTRUMENT_HALTED | moments(third)}
    assert second.started_at > first.started_at


def test_after_the_halt_the_refused_request_is_accepted(account: Any) -> None:
    client = client_for(account)
    halt()
    assert post(client, MARKET | {"client_order_id": "c1"}).status_code == 422
    assert stored() == NOTHING
    resume()
    assert post(client, MARKET | {"client_order_id": "c1"}).status_code == 202


def test_a_halted_order_is_not_sent_until_the_halt_ends_and_then_once(simulator: SimulatorProcess, accept: Accept) -> None:
    orders = [accept() for _ in range(30)]
    halt()
    let_time_pass(300)
    due_until = {order.id: order.give_up_at for order in Order.objects.all()}
    for _ in range(3):
        assert run_loop(simulator.url) == 0
    assert not {str(order.id) for order in orders} & simulator.book().keys()
    ended = resume()
    Sweep().run_once()
    assert ended.ended_at is not None
    lasted = ended.ended_at - Halt.objects.get().started_at
    assert lasted > timedelta(seconds=300)
    assert {order.id: order.give_up_at - lasted for order in Order.objects.all()} == due_until
    assert run_loop(simulator.url) == 30
    assert {simulator.book()[str(order.id)]["times_received"] for order in orders} == {1}
    assert {tuple(history(order)) for order in orders} == {("accepted", "held", "released", "placed")}
    assert set(Order.objects.values_list("status", "held_at")) == {(Status.COMPLETED, None)}


def test_the_history_tells_what_the_halt_did(accept: Accept) -> None:
    order = accept()
    halt()
    let_time_pass(300)
    claim_due_orders(10, POLICY)
    resume()
    release_orders()
    event = order.events.latest("id")
    order.refresh_from_db()
    assert history(order) == ["accepted", "held", "released"]
    assert event.data["halted_s"] > 300
    assert datetime.fromisoformat(event.data["give_up_at"]) - order.give_up_at < timedelta(milliseconds=1)


def test_an_account_or_an_instrument_is_halted_while_others_are_sent(
    simulator: SimulatorProcess, accept: Accept, django_user_model: Any
) -> None:
    here, there = accept(), accept(instrument="TSLA_2025_06")
    bert = django_user_model.objects.create_user("bert")
    Order.objects.filter(id=there.id).update(account=bert)
    halted = halt(account=bert)
    assert run_loop(simulator.url) == 1
    assert history(here) == ["accepted", "placed"]
    other = accept(instrument="GOOG_2025_09")
    assert resume(account=bert).pk == halted.pk
    halt(instrument="GOOG_2025_09")
    release_orders()
    assert run_loop(simulator.url) == 1
    assert (history(there), history(other)) == (["accepted", "held", "released", "placed"], ["accepted", "held"])


def test_what_is_being_sent_is_finished_and_its_executions_are_followed(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept()
    simulator.control(latency=0.3)
    try:
        with ThreadPoolExecutor(1) as pool:
            loop = pool.submit(run_loop, simulator.url)
            wait_until(lambda: str(order.id) in simulator.book())
            halt()
            loop.result()
    finally:
        simulator.control(latency=0)
    follow_until_settled(simulator.url, lambda: Order.objects.get().execution_status == ExecutionStatus.FILLED)


def test_a_send_that_came_to_nothing_is_not_repeated_during_a_halt(simulator: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="OFFLINE_____")
    claim = claim_one()
    halt()
    record([execute_at(claim, simulator.url)], POLICY)
    let_time_pass(30)
    for _ in range(3):
        assert claim_due_orders(10, POLICY) == []
    order.refresh_from_db()
    assert (order.attempt_count, order.next_attempt_at, order.held_at is not None) == (1, None, True)


def test_look_ups_go_on(simulator: SimulatorProcess, accept: Accept) -> None:
    found, absent = accept(), accept()
    # Both were sent, and what became of it was never recorded; one of them arrived.
    claims = {claim.order.id: claim for claim in claim_due_orders(2, POLICY)}
    execute_at(claims[found.id], simulator.url)
    halt()
    let_time_pass(70)
    for _ in range(3):
        one_round(simulator.url)
    found.refresh_from_db()
    absent.refresh_from_db()
    assert found.status == Status.COMPLETED
    assert (absent.status, absent.may_be_at_exchange, absent.held_at is not None) == (Status.PENDING, False, True)
    assert str(absent.id) not in simulator.book()


def test_cancels_go_on(simulator: SimulatorProcess, accept: Accept) -> None:
    placed = accept(instrument="NEVERFILL___")
    run_loop(simulator.url)
    waiting, held = accept(), accept()
    halt()
    cancel_order(waiting.id, "anna")
    claim_due_orders(10, POLICY)
    cancel_order(held.id, "anna")
    cancel_order(placed.id, "anna")
    assert set(Order.objects.exclude(id=placed.id).values_list("status", "held_at")) == {(Status.CANCELED, None)}
    assert [claim.step for claim in claim_due_orders(10, POLICY)] == [Step.CANCEL]


def test_nothing_is_retried_during_a_halt_or_before_everything_is_released(accept: Accept) -> None:
    order = refuse(accept())
    halt()
    passed_over = {order.id: "cannot be sent while trading is halted"}
    assert retry_orders([order.id], "dora").passed_over == passed_over
    resume()
    assert retry_orders([order.id], "dora").passed_over == passed_over
    release_orders()
    assert retry_orders([order.id], "dora").sent == [order.id]


def test_workers_are_not_woken_in_vain_and_not_taken_for_frozen(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[bool] = []
    monkeypatch.setattr("orders.placement.sweep.kill_registered_processes", lambda: killed.append(True))
    for _ in range(5):
        accept()
    halt()
    now = 0.0
    sweep = Sweep(stalled_after_s=10, clock=lambda: now)
    sweep.run_once()
    claim_due_orders(2, POLICY)
    OrmQ.objects.all().delete()
    for _ in range(5):
        now += 9
        sweep.run_once()
    assert killed == []
    assert not OrmQ.objects.exists()
    resume()
    sweep.run_once()
    assert OrmQ.objects.count() == 2, "one from the release, one from the sweep"


def test_a_claim_for_one_order_holds_all_that_are_halted(accept: Accept) -> None:
    for _ in range(3):
        accept()
    halt()
    assert claim_due_orders(1, POLICY) == []
    assert Order.objects.filter(held_at__isnull=False, next_attempt_at=None).count() == 3


def test_the_work_that_is_done_all_the_time_does_not_pass_held_orders(accept: Accept) -> None:
    order = accept()
    accept(expires_at=timezone.now() + timedelta(minutes=1))
    halt()
    claim_due_orders(1, POLICY)
    many_like(order, 3000)
    with CaptureQueriesContext(connection) as queries:
        claim_due_orders(1, POLICY)
        finish_overdue_orders()
    searches = [query["sql"] for query in queries if "SKIP LOCKED" in query["sql"]]
    with connection.cursor() as cursor:
        for search, index in zip(searches[-3:], ["order_due", "order_give_up", "order_held"], strict=True):
            cursor.execute(f"EXPLAIN {search}")
            assert f"using {index} on" in str(cursor.fetchall())


def test_switching_leaves_events_with_who_when_and_why(account: Any) -> None:
    halt()
    halt(account=account)
    resume()
    halt(instrument="TSLA_2025_06")
    events = SafetyEvent.objects.order_by("id").values_list("type", "account", "instrument", "by", "reason")
    assert list(events) == [
        ("halted", None, None, "dora", "odd prices"),
        ("halted", account.pk, None, "dora", "odd prices"),
        ("resumed", None, None, "dora", "explained"),
        ("halted", None, "TSLA_2025_06", "dora", "odd prices"),
    ]
    with pytest.raises(ProgrammingError, match="safety events are append-only"), transaction.atomic():
        SafetyEvent.objects.update(reason="none")


def test_a_scope_is_halted_once_and_resumed_once(account: Any) -> None:
    for scope in ({}, {"account": account}, {"instrument": "TSLA_2025_06"}):
        with pytest.raises(NotHalted):
            resume(**scope)
        halt(**scope)
        with pytest.raises(AlreadyHalted):
            halt(**scope)
    assert (Halt.objects.count(), SafetyEvent.objects.count()) == (3, 3)


@pytest.mark.parametrize("scope", [{"reason": " "}, {"reason": "x", "instrument": "TSLA"}])
def test_the_database_refuses_a_halt_that_says_nothing(scope: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=r'"halt_(says_why|instrument_has_12_characters)"'):
        halt_trading("dora", **scope)
    assert not SafetyEvent.objects.exists()
