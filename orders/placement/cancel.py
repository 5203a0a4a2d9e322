"""Cancel orders: at once if the order cannot be at the exchange, otherwise the workers cancel it there."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from infrastructure.database.base import in_transaction
from infrastructure.database.clock import database_now
from orders import lifecycle
from orders.event_data import Cause
from orders.models import Order
from orders.states import TERMINAL_EXECUTION, Status
from orders.storage import lock_orders, save_changes
from orders.wakeups import carrier


@dataclass
class TooLateToCancel(Exception):
    """There is nothing to cancel: the order is canceled, filled, rejected or expired, or was refused by limits."""

    order: Order

    def __str__(self) -> str:
        state = self.order.execution_status or self.order.status
        return f"The order is {state}; there is nothing to cancel."


def reason_not_to_cancel(order: Order) -> str | None:
    """Why a cancel would have no effect on this order, or None."""
    if order.status == Status.CANCELED or order.execution_status in TERMINAL_EXECUTION:
        return f"is {order.execution_status or order.status}"
    if order.is_refused_by_limits:
        # It was never accepted, and a repeated request for it is refused again.
        return "is refused by limits"
    return None


@dataclass
class Canceled:
    """The result of canceling several orders: ids, and for each order that was passed over the reason."""

    at_once: list[uuid.UUID] = field(default_factory=list)
    requested: list[uuid.UUID] = field(default_factory=list)
    passed_over: dict[uuid.UUID, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"{len(self.at_once)} canceled", f"{len(self.requested)} will be canceled at the exchange"]
        if self.passed_over:
            parts.append(f"{len(self.passed_over)} passed over ({', '.join(sorted(set(self.passed_over.values())))})")
        return ", ".join(parts)


@in_transaction
def cancel_order(order_id: uuid.UUID, requested_by: str) -> Order:
    """Cancel one existing order. Safe to repeat.

    The returned order is `canceled`, or its cancel is stored and workers will send it to the exchange.
    Raises TooLateToCancel.
    """
    order = lock_orders([order_id])[order_id]
    if reason_not_to_cancel(order) is not None:
        raise TooLateToCancel(order)
    cancel_locked([order], requested_by)
    return order


@in_transaction
def cancel_orders(ids: Sequence[uuid.UUID], requested_by: str) -> Canceled:
    """Cancel those of these orders that can be canceled. Pass at most a few hundred ids, because all are locked at once."""
    canceled = Canceled()
    orders = lock_orders(ids)
    canceled.passed_over = {id: reason for id, order in orders.items() if (reason := reason_not_to_cancel(order))}
    cancelable = [order for id, order in orders.items() if id not in canceled.passed_over]
    cancel_locked(cancelable, requested_by)
    for order in cancelable:
        (canceled.at_once if order.status == Status.CANCELED else canceled.requested).append(order.id)
    return canceled


def cancel_locked(orders: Sequence[Order], requested_by: str) -> None:
    now = database_now()
    events = [event for order in orders for event in lifecycle.cancel_requested(order, now, Cause(by=requested_by))]
    save_changes(orders, events)
    if to_be_executed := [order.id for order in orders if order.cancel_requested_at == now]:
        carrier().wake_workers(to_be_executed)
