"""Reading events under any interleaving of transactions, each on a connection of its own."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings

from orders.events.stream import (
    FROM_THE_BEGINNING,
    StreamPosition,
    current_snapshot,
    encoded_events,
    events_after,
    position_after,
)
from orders.models import Order, OrderEvent
from testsupport.event_writers import INSERT, STEPS, WRITERS


@pytest.fixture
def order(transactional_db: None, accept: Callable[..., Order]) -> Order:
    return accept()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_every_event_is_read_once_and_can_be_resumed_after(steps, writers, order) -> None:
    known = begun = current_snapshot()
    delivered: list[int] = []
    for step, number in [*steps, *(("commit", number) for number in range(WRITERS)), ("read", 0)]:
        if step == "write":
            writers[number].execute(INSERT, [str(uuid4()), order.id, order.account_id])
        elif step == "commit":
            writers[number].commit()
        elif step == "roll back":
            writers[number].rollback()
        else:
            found = events_after(StreamPosition(known))
            known = found.snapshot
            delivered += found.ids
    committed = events_after(StreamPosition(begun)).ids
    assert sorted(delivered) == committed
    for count, last in enumerate(delivered, start=1):
        position = position_after(OrderEvent.objects.get(id=last).event_id, order.account_id)
        assert position is not None
        resumed = events_after(position, [order.account_id]).ids
        assert set(committed) <= set(delivered[:count]) | set(resumed)
        assert last not in resumed


def test_nothing_is_found_that_a_snapshot_did_not_see(writers, order) -> None:
    writers[0].execute(INSERT, ["open", order.id, order.account_id])
    writers[1].execute(INSERT, ["committed", order.id, order.account_id])
    writers[1].commit()
    snapshot = current_snapshot()
    writers[0].commit()
    until = events_after(FROM_THE_BEGINNING, until=snapshot).ids
    assert list(OrderEvent.objects.filter(id__in=until).values_list("type", flat=True)) == ["accepted", "retrying"]
    assert len(events_after(FROM_THE_BEGINNING).ids) == 3
    assert [event.account_id for event in encoded_events(until)] == [order.account_id] * 2
