"""Every type of event has one class for its data, and what is stored reads back as what was written."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from orders import event_data
from orders.event_data import NO_CAUSE, Cause, EventData, FillData, FilledData, PlacedData, event_json
from orders.models import Order, OrderEvent, new_event
from orders.states import EventType
from orders.storage import save_changes


def classes_of(base: type[EventData]) -> list[type[EventData]]:
    return [found for subclass in base.__subclasses__() for found in [subclass, *classes_of(subclass)]]


def test_each_type_of_event_has_exactly_one_class() -> None:
    types = [vars(one)["type"] for one in classes_of(EventData) if "type" in vars(one)]
    assert sorted(types) == sorted(EventType)
    assert {one.__module__ for one in classes_of(EventData)} == {event_data.__name__}


def test_what_is_none_is_left_out() -> None:
    placed = PlacedData(exchange_order_id="X1")
    assert event_json(placed, NO_CAUSE) == {"exchange_order_id": "X1"}
    cause = Cause(attempt=2, took_ms=7.5, looked_up=True)
    expected = {"exchange_order_id": "X1", "attempt": 2, "took_ms": 7.5, "looked_up": True}
    assert event_json(placed, cause) == expected


@pytest.mark.django_db
def test_a_stored_fill_and_its_cause_read_back_as_they_were_written(accept: Callable[..., Order]) -> None:
    order = accept()
    cause = Cause(from_feed=True, by="dora")
    written = FilledData(last_quantity=3, last_price=Decimal("10.50"), filled_quantity=7, sequence=9)
    save_changes([], [new_event(order, timezone.now(), written, cause)])
    data: dict[str, Any] = OrderEvent.objects.get(type="filled").data
    assert (FillData.has_fill(data), Cause.read(data)) == (True, cause)
    assert FillData.read(data) == FillData(last_quantity=3, last_price=Decimal("10.50"), filled_quantity=7)
    assert not FillData.has_fill(event_json(PlacedData(exchange_order_id="X1"), NO_CAUSE))
