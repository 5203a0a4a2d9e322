"""A database that came back from a backup: its transaction numbers are those of another server."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, given, settings

from orders.events.stream import (
    Snapshot,
    StreamPosition,
    current_snapshot,
    events_after,
    events_since,
    last_event_id,
    position_after,
)
from orders.executions.feed_positions import move_position
from orders.models import FeedPosition, Order, OrderEvent, RelayPosition
from orders.operations.restore import (
    have_pending_orders_looked_up,
    is_renumbering_needed,
    prepare_restored_database,
    renumber_events,
    want_reconciliation,
)
from orders.risk.halts import halts_in_force
from orders.risk.switches import halt_trading
from orders.states import Status
from testsupport.event_writers import INSERT, STEPS
from testsupport.placement import one_round
from testsupport.simulator_process import SimulatorProcess

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]
# How much further the server was on which the backup was made.
FURTHER = 2**40


@pytest.fixture
def order(accept: Accept) -> Order:
    return accept()


def as_from_another_server(snapshot: Snapshot) -> Snapshot:
    """Move everything to where a server would be that had done much more; returns the snapshot there."""
    with connection.cursor() as cursor:
        further = "(({0}::text)::bigint + %s)::text::xid8"
        cursor.execute(
            f"UPDATE orders_orderevent SET tx = {further.format('tx')}, tx_floor = {further.format('tx_floor')} WHERE tx > '4'",
            [FURTHER, FURTHER],
        )
    xmin, xmax, running = snapshot.text.split(":")
    moved = ",".join(str(int(number) + FURTHER) for number in running.split(",") if number)
    return Snapshot(f"{int(xmin) + FURTHER}:{int(xmax) + FURTHER}:{moved}")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_clients_and_relay_miss_nothing_after_a_restore(steps: Any, writers: Any, order: Order) -> None:
    published = begun = current_snapshot()
    reads: list[list[int]] = []
    for step, number in [*steps, *(("commit", number) for number in range(3))]:
        if step == "write":
            writers[number].execute(
                INSERT, [f"e-{OrderEvent.objects.count()}-{len(reads)}-{timezone.now()}", order.id, order.account_id]
            )
        elif step == "commit":
            writers[number].commit()
        elif step == "roll back":
            writers[number].rollback()
        else:
            found = events_after(StreamPosition(published))
            published = found.snapshot
            reads.append(found.ids)
    everything = set(events_after(StreamPosition(begun)).ids)
    RelayPosition.objects.update_or_create(relay="r", defaults={"snapshot": as_from_another_server(published).text})
    assert is_renumbering_needed() or not everything

    renumber_events()
    renumber_events()

    assert not is_renumbering_needed()
    assert events_after(StreamPosition(current_snapshot())).ids == []
    relay = Snapshot(RelayPosition.objects.get(relay="r").snapshot)
    to_be_published = {id for _, ids in events_since(relay, 100) for id in ids}
    delivered = [id for ids in reads for id in ids]
    assert everything <= set(delivered) | to_be_published
    assert not to_be_published & set(delivered)
    new = order.events.create(account_id=order.account_id, type="retrying")
    for count, last in enumerate(delivered, start=1):
        position = position_after(OrderEvent.objects.get(id=last).event_id, order.account_id)
        assert position is not None
        resumed = set(events_after(position, [order.account_id]).ids)
        assert everything | {new.pk} <= set(delivered[:count]) | resumed
    assert last_event_id(current_snapshot(), order.account_id) == new.event_id
    new.delete()


def test_a_resume_after_a_restored_event_does_not_read_the_history_before_it(accept: Accept) -> None:
    orders = [accept() for _ in range(20)]
    # Transactions of other databases on the same server may have been running meanwhile.
    OrderEvent.objects.update(tx_floor=F("tx"))
    as_from_another_server(current_snapshot())
    renumber_events()
    last = orders[-1].events.get()
    position = position_after(last.event_id, None)
    assert position is not None
    assert events_after(position).ids == [last.pk]


def test_whoever_has_not_prepared_a_restored_database_is_told(accept: Accept) -> None:
    accept()
    assert not is_renumbering_needed()
    as_from_another_server(current_snapshot())
    assert is_renumbering_needed()


def test_an_order_that_was_pending_in_the_backup_is_looked_up_before_it_is_sent(
    accept: Accept, simulator: SimulatorProcess
) -> None:
    placed, unsent = accept(), accept()
    Order.objects.filter(id=unsent.id).update(next_attempt_at=timezone.now() + timedelta(hours=1))
    one_round(simulator.url)
    # The backup was made before, and trading was halted then.
    nothing = dict.fromkeys(["exchange_order_id", "placed_at", "execution_status", "next_attempt_at"])
    placed.events.filter(type="placed").delete()
    Order.objects.filter(id=placed.id).update(status=Status.PENDING, held_at=timezone.now(), **nothing)
    halt_trading("dora", "restored")
    assert have_pending_orders_looked_up() == 2
    one_round(simulator.url)
    book = simulator.book()
    placed.refresh_from_db()
    unsent.refresh_from_db()
    assert placed.status == Status.COMPLETED
    assert book[str(placed.id)]["times_received"] == 1
    assert str(unsent.id) not in book
    assert (unsent.status, unsent.held_at is not None or unsent.next_attempt_at is not None) == (Status.PENDING, True)


@pytest.mark.django_db
def test_whichever_feed_is_followed_open_orders_are_looked_up_after_a_restore() -> None:
    """Kafka's recorders may have taken reports whose effects the backup lacks, and they do not come again."""
    for feed in ("exchange", "exchange:kafka"):
        move_position(feed, "s1", 7)
    want_reconciliation()
    assert FeedPosition.objects.filter(look_up_open_at__lte=timezone.now(), sequence=7).count() == 2


def test_nothing_is_prepared_beside_other_processes(accept: Accept, writers: Any) -> None:
    accept()
    with pytest.raises(CommandError, match="stop every process first"):
        call_command("after_restore")
    assert not halts_in_force()


def test_preparing_halts_trading_and_can_be_repeated(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    # The test's own process has more than one connection.
    monkeypatch.setattr("orders.operations.restore.require_exclusive_access", lambda: None)
    accept()
    as_from_another_server(current_snapshot())
    first = prepare_restored_database("dora")
    second = prepare_restored_database("dora")
    assert (first.events, first.looked_up) == (1, 1)
    assert second.events == 0
    assert len(halts_in_force()) == 1
