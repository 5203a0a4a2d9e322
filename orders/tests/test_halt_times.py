"""What halts do to the time that an order has: none of it is lost, none is counted twice, and its own expiry holds."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from orders.models import Halt, Order
from orders.placement.attempts import claim_due_orders, finish_overdue_orders
from orders.risk import switches as halting
from orders.risk.halts import halted_since
from orders.risk.switches import release_orders
from orders.states import Status
from orders.tests.halting import halt, resume
from testsupport.placement import POLICY, let_time_pass

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]


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
    assert release_orders() == 3
    assert release_orders() == 0
    halted = Halt.objects.get()
    assert halted.ended_at is not None
    moved = {order.id: order.give_up_at for order in Order.objects.all()}
    assert {id: moment - before[id] for id, moment in moved.items()} == dict.fromkeys(before, halted.ended_at - halted.started_at)
