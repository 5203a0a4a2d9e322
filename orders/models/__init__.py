"""The tables, one module for each part of the domain."""

from orders.models.feed import FeedConnection, FeedPosition, RelayPosition, SetAsideReport
from orders.models.order import (
    CLIENT_ORDER_ID_PATTERN,
    NEEDS_PERSON,
    OPEN,
    Order,
    OrderEvent,
    OrderQuerySet,
    event,
    new_event_id,
)
from orders.models.safety import AccountLimits, Halt, LastPrice, SafetyEvent
from orders.models.worker import PlacementWorker

__all__ = [
    "CLIENT_ORDER_ID_PATTERN",
    "NEEDS_PERSON",
    "OPEN",
    "AccountLimits",
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
    "SetAsideReport",
    "event",
    "new_event_id",
]
