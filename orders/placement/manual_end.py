"""An operator ends an order that the exchange acknowledged but no longer has. No report will ever end it."""

import uuid
from dataclasses import dataclass

from django.utils import timezone

from infrastructure.database.base import in_transaction
from orders import lifecycle
from orders.models import Order
from orders.states import OPEN_EXECUTION
from orders.storage import lock_orders, save_changes


@dataclass
class NotProvedAbsent(Exception):
    """The latest look-up did not show the order missing at the exchange, or the order has already ended."""

    order: Order

    def __str__(self) -> str:
        state = self.order.execution_status or self.order.status
        return f"The order is {state}, and no look-up has shown that the exchange lacks it."


def can_be_ended(order: Order) -> bool:
    return order.absent_since is not None and order.execution_status in OPEN_EXECUTION


@in_transaction
def end_absent_order(order_id: uuid.UUID, requested_by: str, reason: str) -> Order:
    """End one existing order as canceled. A fill that is reported later still counts.

    Raises NotProvedAbsent, and ValueError if `reason` is blank.
    """
    if not reason.strip():
        raise ValueError("a reason is needed")
    order = lock_orders([order_id])[order_id]
    if not can_be_ended(order):
        raise NotProvedAbsent(order)
    events = lifecycle.ended_by_operator(order, timezone.now(), by=requested_by, reason=reason.strip())
    save_changes([order], events)
    return order
