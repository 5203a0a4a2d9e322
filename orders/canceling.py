"""Canceling an order: at once while nothing of it can be at the exchange, else carried there by the workers."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from orders import lifecycle
from orders.dispatch import wake_workers
from orders.models import Order
from orders.placement import lock_orders
from orders.states import TERMINAL_EXECUTION, Status
from orders.storage import save_changes


@dataclass
class TooLateToCancel(Exception):
    """Nothing is left to cancel: the order is canceled, filled, rejected or expired."""

    order: Order

    def __str__(self) -> str:
        state = self.order.execution_status or self.order.status
        return f"The order is {state}; there is nothing to cancel."


def reason_not_to_cancel(order: Order) -> str | None:
    """Why a cancel would do nothing for this order, or None."""
    if order.status == Status.CANCELED or order.execution_status in TERMINAL_EXECUTION:
        return f"is {order.execution_status or order.status}"
    return None


def cancel_order(order_id: uuid.UUID, requested_by: str) -> Order:
    """Cancel one order that exists. Safe to repeat.

    The order that is returned is `canceled`, or its cancel is stored and will be carried to the exchange.
    Raises TooLateToCancel.
    """
    with transaction.atomic():
        now = timezone.now()
        order: Order = lock_orders([order_id])[order_id]
        if reason_not_to_cancel(order) is not None:
            raise TooLateToCancel(order)
        events: list[Any] = lifecycle.cancel_requested(order, now, by=requested_by)
        if events:
            save_changes([order], events)
            if order.cancel_requested_at is not None:
                wake_workers()
    return order
