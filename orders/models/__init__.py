"""The tables, one module for each part of the domain."""

from orders.models.feed import DeadLetter, FeedConnection, FeedPosition, RelayPosition
from orders.models.order import (
    CLIENT_ORDER_ID_PATTERN,
    NEEDS_OPERATOR,
    OPEN,
    Order,
    OrderEvent,
    OrderQuerySet,
    new_event,
    new_event_id,
)
from orders.models.safety import AccountLimits, Halt, LastPrice, SafetyEvent
from orders.models.worker import PlacementWorker

__all__ = [
    "CLIENT_ORDER_ID_PATTERN",
    "NEEDS_OPERATOR",
    "OPEN",
    "AccountLimits",
    "DeadLetter",
    "FeedConnection",
    "FeedPosition",
    "Halt",
    "LastPrice",
    "Order",
    "OrderEvent",
    "OrderQuerySet",
    "PlacementWorker",
    "RelayPosition",
    "SafetyEvent",
    "new_event",
    "new_event_id",
]
