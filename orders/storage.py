"""Write many orders and events, each in one statement.

The rows go to PostgreSQL as one JSON text, which it converts by the column types. That takes a tenth of the work of writing
each value into the statement, and the statement stays the same, so it is planned once per connection.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
import structlog
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder

from infrastructure.database.base import run_prepared
from orders.events.notify import ORDER_EVENTS, after_commit, notify_after_commit
from orders.models import Order, OrderEvent

log = structlog.get_logger()

# The columns that may change after an order was accepted.
MUTABLE_COLUMNS = (
    "updated_at",
    "status",
    "error_code",
    "error_message",
    "attempt_count",
    "next_attempt_at",
    "claimed_until",
    "give_up_at",
    "held_at",
    "may_be_at_exchange",
    "sent_valid_until",
    "cancel_requested_at",
    "exchange_order_id",
    "placed_at",
    "execution_status",
    "filled_quantity",
    "filled_value",
    "average_price",
    "reported_quantity",
    "looked_up_quantity",
    "look_up_at",
    "discrepancy",
    "absent_since",
)
UPDATE_ORDERS = (
    "UPDATE orders_order AS o SET "  # noqa: S608 - only column names from the table above
    + ", ".join(f"{name} = new.{name}" for name in MUTABLE_COLUMNS)
    + " FROM json_populate_recordset(NULL::orders_order, %s::json) AS new WHERE o.id = new.id"
)
# Named, because the next release may already have added columns, which have defaults in the database.
ORDER_COLUMNS = ", ".join(str(field.column) for field in Order._meta.concrete_fields)  # noqa: SLF001 - its documented interface
# The other columns have defaults in the database.
EVENT_COLUMNS = "event_id, order_id, account_id, type, data, occurred_at, recorded_at"
INSERT_EVENTS = f"""
INSERT INTO orders_orderevent ({EVENT_COLUMNS})
SELECT {EVENT_COLUMNS} FROM json_populate_recordset(NULL::orders_orderevent, %s::json)"""  # noqa: S608 - only column names
encode_data: Callable[[Any], str] = DjangoJSONEncoder().encode


def lock_orders(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Order]:
    """Lock the orders in id order, so that two transactions over the same orders cannot deadlock. Return them by id."""
    return {order.id: order for order in Order.objects.select_for_update().filter(id__in=ids).order_by("id")}


def save_changes(orders: Sequence[Order], events: Sequence[OrderEvent]) -> None:
    """Store changed orders and the events that explain the changes, in the caller's transaction.

    The caller has locked the orders' rows (`lock_orders`). Raises ValueError for a value that no column can hold.
    """
    if orders:
        run_prepared(UPDATE_ORDERS, [orders_as_json(orders)])
    if events:
        run_prepared(INSERT_EVENTS, [events_as_json(events)])
        publish_events(events)


def orders_as_json(orders: Iterable[Order]) -> str:
    """All columns of the orders' rows. Raises ValueError."""
    return as_json([order_row(order) for order in orders])


def order_row(order: Order) -> dict[str, Any]:
    return {name: value for name, value in vars(order).items() if name != "_state"}


def events_as_json(events: Iterable[OrderEvent]) -> str:
    """The events' rows, in EVENT_COLUMNS. Raises ValueError."""
    return as_json(
        [
            {
                "event_id": event.event_id,
                "order_id": event.order_id,
                "account_id": event.account_id,
                "type": event.type,
                "data": orjson.Fragment(encode_data(event.data)),
                "occurred_at": event.occurred_at,
                "recorded_at": event.recorded_at,
            }
            for event in events
        ]
    )


def as_json(rows: list[dict[str, Any]]) -> str:
    try:
        return orjson.dumps(rows, default=str).decode()
    except orjson.JSONEncodeError as error:
        # An integer of more than 64 bits, or a lone surrogate.
        raise ValueError(str(error)) from error


class EventSummary(NamedTuple):
    """The part of an event that is logged."""

    order_id: uuid.UUID
    type: str
    event_id: str


def publish_events(events: Sequence[EventSummary | OrderEvent]) -> None:
    """When the caller's transaction commits, notify the listeners and, with LOG_TRAFFIC, log the events."""
    notify_after_commit(ORDER_EVENTS)
    if settings.LOG_TRAFFIC:
        after_commit(partial(log_events, events))


def log_events(events: Sequence[EventSummary | OrderEvent]) -> None:
    for event in events:
        log.info("order_event", order_id=str(event.order_id), type=event.type, event_id=event.event_id)
