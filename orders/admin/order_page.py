"""The page of one order: its facts on top, and everything that ever happened to it below."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orders.event_data import Cause, ReportedData
from orders.exact_decimals import plain_text
from orders.models import Order, OrderEvent
from orders.states import EventType, Status
from orders.templatetags.durations import duration

# Most orders have a few dozen events; one with many small fills may have very many.
MAX_EVENTS = 500
MAX_DEAD_LETTERS = 20
BY_EXCHANGE = {EventType.PARTIALLY_FILLED, EventType.FILLED, EventType.REJECTED, EventType.EXPIRED}


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One event: type, time, time since the previous event, how long its call took, who caused it, and the rest as text."""

    type: str
    occurred_at: datetime
    since_before: timedelta | None
    took_ms: float | None
    who: str
    details: str


def timeline(order: Order) -> list[TimelineRow]:
    """The newest `MAX_EVENTS` events, oldest first."""
    newest = list(order.events.order_by("-id")[:MAX_EVENTS])
    events = newest[::-1]
    return [timeline_row(event, before, order) for before, event in zip([None, *events], events, strict=False)]


def timeline_row(event: OrderEvent, before: OrderEvent | None, order: Order) -> TimelineRow:
    rest = {name: value for name, value in event.data.items() if name not in ("took_ms", "by")}
    return TimelineRow(
        type=event.type,
        occurred_at=event.occurred_at,
        since_before=None if before is None else event.occurred_at - before.occurred_at,
        took_ms=Cause.read(event.data).took_ms,
        who=who_did(event, order),
        details=", ".join(f"{name.replace('_', ' ')}: {text(value)}" for name, value in rest.items()),
    )


def who_did(event: OrderEvent, order: Order) -> str:
    """The name of a person or account, "exchange", or "Lemon Market"."""
    cause = Cause.read(event.data)
    if cause.by is not None:
        return cause.by
    if event.type == EventType.ACCEPTED:
        return order.account.get_username()
    if event.type in BY_EXCHANGE or ReportedData.is_report(event.data) or cause.from_feed:
        return "exchange"
    return "Lemon Market"


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def in_utc(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def facts(order: Order) -> Sequence[tuple[str, Sequence[tuple[str, Any]]]]:
    """Headings with names and values; a value of None is left out."""
    is_open = order.status in (Status.PENDING, Status.ERROR)
    return [
        (
            "Terms",
            [
                ("Account", order.account.get_username()),
                ("Type", order.type),
                ("Limit price", order.limit_price),
                ("Expires", in_utc(order.expires_at)),
                ("Client order id", order.client_order_id),
                ("Accepted", in_utc(order.created_at)),
            ],
        ),
        (
            "Placement",
            [
                ("Attempts", order.attempt_count),
                ("Next attempt", in_utc(order.next_attempt_at)),
                ("Held by a halt since", in_utc(order.held_at)),
                ("Nothing is sent after", in_utc(order.give_up_at) if is_open else None),
                ("Placed", in_utc(order.placed_at)),
                ("Time to placement", order.placed_at and duration(order.placed_at - order.created_at)),
                ("Exchange order id", order.exchange_order_id),
                ("May be at the exchange", "yes: sent, no clear answer" if order.may_be_at_exchange else None),
                ("Cancel requested", in_utc(order.cancel_requested_at)),
                ("Looked up next", in_utc(order.look_up_at)),
                ("Unknown to the exchange since", in_utc(order.absent_since)),
            ],
        ),
        (
            "Execution",
            [
                ("Filled", f"{order.filled_quantity} of {order.quantity}" if order.placed_at else None),
                ("Reported as filled", order.reported_quantity if order.reported_quantity > order.filled_quantity else None),
                ("Average price", order.average_price and plain_text(order.average_price)),
                ("Value", plain_text(order.filled_value) if order.filled_quantity else None),
                ("Last change", in_utc(order.updated_at)),
            ],
        ),
    ]
