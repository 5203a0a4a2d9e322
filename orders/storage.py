"""Writing many orders and events in one statement each."""

from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from orders.doorbell import ORDER_EVENTS, ring_after_commit
from orders.models import Order, OrderEvent

log = structlog.get_logger()

# All that may change after an order was accepted, with the PostgreSQL type of each column.
MUTABLE_COLUMNS = {
    "updated_at": "timestamptz",
    "status": "text",
    "error_code": "text",
    "error_message": "text",
    "attempt_count": "integer",
    "next_attempt_at": "timestamptz",
    "claimed_until": "timestamptz",
    "give_up_at": "timestamptz",
    "held_at": "timestamptz",
    "may_be_at_exchange": "boolean",
    "sent_valid_until": "timestamptz",
    "cancel_requested_at": "timestamptz",
    "exchange_order_id": "text",
    "placed_at": "timestamptz",
    "execution_status": "text",
    "filled_quantity": "integer",
    "filled_value": "numeric",
    "average_price": "numeric",
    "reconciled_session": "text",
    "reconciled_sequence": "bigint",
}
UPDATE_ORDERS = (
    "UPDATE orders_order AS o SET "  # noqa: S608 - only column names from the table above
    + ", ".join(f"{name} = new.{name}" for name in MUTABLE_COLUMNS)
    + " FROM unnest(%s::uuid[], "
    + ", ".join(f"%s::{type}[]" for type in MUTABLE_COLUMNS.values())
    + f") AS new(id, {', '.join(MUTABLE_COLUMNS)}) WHERE o.id = new.id"
)


def plain(value: Any) -> Any:
    """An enum's value: psycopg refuses a list that holds both strings and members of a string enum."""
    return value.value if isinstance(value, Enum) else value


def save_changes(orders: Sequence[Order], events: Sequence[OrderEvent]) -> None:
    """Store changed orders and the events that say why, in the caller's transaction.

    The caller has locked the orders' rows, in id order where they are many, so that two such transactions cannot
    deadlock.
    """
    if orders:
        columns = [[plain(getattr(order, name)) for order in orders] for name in MUTABLE_COLUMNS]
        with connection.cursor() as cursor:
            cursor.execute(UPDATE_ORDERS, [[order.id for order in orders], *columns])
    if events:
        OrderEvent.objects.bulk_create(events)
        ring_after_commit(ORDER_EVENTS)
        if settings.LOG_TRAFFIC:
            transaction.on_commit(partial(log_events, events))


def log_events(events: Sequence[OrderEvent]) -> None:
    for happened in events:
        log.info("order_event", order_id=str(happened.order_id), type=happened.type, event_id=happened.event_id)
