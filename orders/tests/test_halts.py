"""Halts: nothing new is accepted, nothing is sent, and everything else goes on; afterwards no order has lost any time."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from exchange.testing import SimulatorProcess
from orders import halting
from orders.canceling import cancel_order
from orders.halting import AlreadyHalted, NotHalted, halt_trading, release_orders, resume_trading
from orders.halts import halted_since
from orders.models import Halt, Order, SafetyEvent
from orders.placement import Step, claim_due_orders, finish_overdue_orders, record
from orders.retrying import retry_orders
from orders.states import ExecutionStatus, Status
from orders.sweep import Sweep
from orders.tests.api_calls import MARKET, NOTHING, client_for, post, stored
from orders.tests.conftest import let_time_pass
from orders.tests.desk import refuse
from orders.tests.following import follow_until_settled
from orders.tests.working import POLICY, carry, claim_one, history, many_like, one_round, run_loop, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]
ALL_HALTED = {"detail": "Trading is halted: nothing new is accepted.", "code": "trading_halted"}
INSTRUMENT_HALTED = {"instrument": ["Trading in this instrument is halted."], "code": "trading_halted"}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with SimulatorProcess(tmp_path_factory.mktemp("exchange")) as process:
        yield process


def halt(**scope: Any) -> Halt:
    return halt_trading("dora", "odd prices", **scope)


def resume(**scope: Any) -> Halt:
    return resume_trading("dora", "explained", **scope)


# Others (from, until; None while in force) -> since when nothing was sent when a halt of 10 to 20 ends.
@pytest.mark.parametrize(
    ("others", "since"),
    [
        ([], 10),
        ([(2, 8)], 10),
        ([(5, 15)], 5),
        ([(5, 10)], 5),
        ([(1, 6), (5, 15)], 1),
        ([(1, 4), (5, 15)], 5),
        ([(5, 15), (1, 6), (0, 2)], 0),
        ([(12, 15)], 10),
        ([(5, 25)], None),
        ([(15, None)], None),
        ([(1, None)], None),
        ([(21, None)], 10),
        ([(21, 30), (5, 12)], 5),
    ],
    ids=str,
)
def test_halts_that_overlap_are_one(others: list[tuple[int, int | None]], since: int | None) -> None:
    def moment(second: int) -> datetime:
        return datetime(2030, 1, 1, 12, 0, second, tzinfo=UTC)

    def make(number: int, start: int, end: int | None) -> Halt:
        return Halt(id=number, started_at=moment(start), ended_at=None if end is None else moment(end))

    ended = make(0, 10, 20)
    halts = [ended, *(make(number, *times) for number, times in enumerate(others, 1))]
    assert halted_since(ended, halts) == (None if since is None else moment(since))


def test_of_two_halts_that_end_together_one_counts() -> None:
    start, end = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)
    both = [Halt(id=number, started_at=start, ended_at=end) for number in (1, 2)]
    assert [halted_since(ended, both) for ended in both] == [None, start]


@pytest.mark.parametrize("scope", ["all", "account", "instrument"])
def test_nothing_new_is_accepted_or_stored(account: Any, scope: str) -> None:
    client = client_for(account)
    known = post(client, MARKET | {"client_order_id": "known"})
    before = stored()
    halt(**{"all": {}, "account": {"account": account}, "instrument": {"instrument": MARKET["instrument"]}}[scope])
    problem = INSTRUMENT_HALTED if scope == "instrument" else ALL_HALTED
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
    halt(instrument="TSLA_2025_06")
    client = client_for(account)
    other = MARKET | {"instrument": "TSLA_2025_06"}
    assert post(client, MARKET).status_code == 202
    assert (post(client_for(bert), MARKET).status_code, post(client, other).status_code) == (422, 422)
    batch = post(client, [MARKET, other], "/orders/batch")
    assert (batch.status_code, batch.json()) == (422, {"1": INSTRUMENT_HALTED})


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
    assert {tuple(history(order)) for order in orders} == {("accepted", "retrying", "placed")}
    assert set(Order.objects.values_list("status", "held_at")) == {(Status.COMPLETED, None)}


def test_the_history_tells_what_the_halt_did(accept: Accept) -> None:
    order = accept()
    halt()
    let_time_pass(300)
    claim_due_orders(10, POLICY)
    resume()
    release_orders()
    happened = order.events.latest("id")
    order.refresh_from_db()
    assert happened.type == "retrying"
    assert (happened.data["reason"], happened.data["halted_s"] > 300) == ("trading was halted", True)
    assert datetime.fromisoformat(happened.data["give_up_at"]) - order.give_up_at < timedelta(milliseconds=1)


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
    assert (history(there)[-1], history(other)) == ("placed", ["accepted"])


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
    record([carry(claim, simulator.url)], POLICY)
    let_time_pass(30)
    for _ in range(3):
        assert claim_due_orders(10, POLICY) == []
    order.refresh_from_db()
    assert (order.attempt_count, order.next_attempt_at, order.held_at is not None) == (1, None, True)


def test_look_ups_go_on(simulator: SimulatorProcess, accept: Accept) -> None:
    found, absent = accept(), accept()
    # Both were sent, and what became of it was never recorded; one of them arrived.
    claims = {claim.order.id: claim for claim in claim_due_orders(2, POLICY)}
    carry(claims[found.id], simulator.url)
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


def test_a_halted_order_does_not_run_out_of_time_but_expires(accept: Accept) -> None:
    held, waiting = accept(), accept()
    held_expires, waiting_expires = (accept(expires_at=timezone.now() + timedelta(minutes=20)) for _ in range(2))
    later = timezone.now() + timedelta(minutes=30)
    Order.objects.filter(id__in=[waiting.id, waiting_expires.id]).update(next_attempt_at=later)
    halt()
    claim_due_orders(10, POLICY)
    let_time_pass(950)
    while finish_overdue_orders():
        continue
    assert set(Order.objects.values_list("status", flat=True)) == {Status.PENDING}
    let_time_pass(300)
    while finish_overdue_orders():
        continue
    codes = dict(Order.objects.values_list("id", "error_code"))
    assert codes == {
        held.id: None,
        waiting.id: None,
        held_expires.id: "expired_before_placement",
        waiting_expires.id: "expired_before_placement",
    }


def test_a_halt_does_not_move_an_orders_time_beyond_its_expiry(accept: Accept) -> None:
    expires_at = timezone.now() + timedelta(minutes=16)
    order = accept(expires_at=expires_at)
    began = timezone.now() - timedelta(hours=1)
    Order.objects.update(created_at=began)
    Halt.objects.filter(pk=halt().pk).update(started_at=began)
    resume()
    release_orders()
    order.refresh_from_db()
    assert order.give_up_at == order.expires_at == expires_at


def test_two_halts_at_a_time_count_once(account: Any, accept: Accept) -> None:
    accept()
    first, second = halt(), halt(account=account)
    now = timezone.now()
    times = {first.pk: (600, 200), second.pk: (400, 100)}
    order = Order.objects.get()
    order.created_at = order.give_up_at = now - timedelta(seconds=700)
    order.save()
    claim_due_orders(10, POLICY)
    resume()
    resume(account=account)
    for pk, (start, end) in times.items():
        moments = {"started_at": now - timedelta(seconds=start), "ended_at": now - timedelta(seconds=end)}
        Halt.objects.filter(pk=pk).update(**moments)
    release_orders()
    assert Order.objects.get().give_up_at == order.give_up_at + timedelta(seconds=500)


def test_an_order_that_another_halt_covers_goes_on_waiting(account: Any, accept: Accept) -> None:
    accept()
    halt()
    halt(account=account)
    claim_due_orders(10, POLICY)
    before = Order.objects.values().get()
    resume()
    release_orders()
    assert Order.objects.values().get() == before
    resume(account=account)
    release_orders()
    assert Order.objects.get().held_at is None


def test_orders_accepted_after_the_halt_are_not_touched(accept: Accept) -> None:
    halt()
    resume()
    accept()
    before = Order.objects.values().get()
    release_orders()
    assert Order.objects.values().get() == before
    assert Halt.objects.get().released_at is not None


def test_what_is_held_is_released_even_if_another_clock_says_it_came_later(accept: Accept) -> None:
    accept()
    halt()
    claim_due_orders(10, POLICY)
    resume()
    Order.objects.update(created_at=timezone.now() + timedelta(minutes=1))
    before = Order.objects.get().give_up_at
    release_orders()
    order = Order.objects.get()
    assert (order.held_at, order.give_up_at) == (None, before)


def test_a_release_that_is_interrupted_goes_on_where_it_was(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halting, "CHUNK", 2)
    before = {order.id: order.give_up_at for order in (accept() for _ in range(5))}
    halt()
    resume()
    real, chunks = halting.release_chunk, []

    def die_at_the_second_chunk(halt_id: int, ids: list[uuid.UUID], **options: Any) -> int:
        chunks.append(ids)
        if len(chunks) == 2:
            raise InterruptedError
        return real(halt_id, ids, **options)

    with monkeypatch.context() as patch:
        patch.setattr(halting, "release_chunk", die_at_the_second_chunk)
        with pytest.raises(InterruptedError):
            release_orders()
    assert retry_orders([], "dora").sent == []
    assert release_orders() == 3
    assert release_orders() == 0
    halted = Halt.objects.get()
    assert halted.ended_at is not None
    moved = {order.id: order.give_up_at for order in Order.objects.all()}
    assert {id: moment - before[id] for id, moment in moved.items()} == dict.fromkeys(before, halted.ended_at - halted.started_at)


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
    monkeypatch.setattr("orders.sweep.kill_registered_process", lambda: killed.append(True))
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
    with pytest.raises(Exception, match="append-only"), transaction.atomic():
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
