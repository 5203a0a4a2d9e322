"""A person retries failed orders: from the admin, or with `manage.py retry_failed`."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.utils import timezone

from orders import lifecycle
from orders.dispatch import wake_workers
from orders.models import Order, OrderEvent
from orders.placement import lock_orders
from orders.policy import PlacementPolicy
from orders.states import Status
from orders.storage import save_changes

RETRYABLE = (Status.FAILED, Status.ERROR)


@dataclass
class Retried:
    """What a retry did: ids of the orders that will be sent again, looked up first, or were passed over and why."""

    sent: list[uuid.UUID] = field(default_factory=list)
    looked_up: list[uuid.UUID] = field(default_factory=list)
    passed_over: dict[uuid.UUID, str] = field(default_factory=dict)

    def add(self, other: "Retried") -> None:
        self.sent += other.sent
        self.looked_up += other.looked_up
        self.passed_over |= other.passed_over

    def __str__(self) -> str:
        parts = [
            f"{len(self.sent)} will be sent again",
            f"{len(self.looked_up)} will be looked up at the exchange first",
        ]
        if self.passed_over:
            parts.append(f"{len(self.passed_over)} passed over ({', '.join(sorted(set(self.passed_over.values())))})")
        return ", ".join(parts)


def reason_not_to_retry(order: Order) -> str | None:
    """Why a retry would do nothing for this order, or None."""
    if order.status not in RETRYABLE:
        return f"is {order.status}"
    if order.expires_at is not None and order.expires_at <= timezone.now() and not order.may_be_at_exchange:
        return "has expired"
    return None


def retry_orders(ids: Sequence[uuid.UUID], requested_by: str) -> Retried:
    """Make failed orders pending again; what may be at the exchange is looked up before it is sent. Safe to repeat.

    Takes at most some hundred ids at a time, because it locks them all.
    """
    retried = Retried()
    policy = PlacementPolicy.from_settings()
    with transaction.atomic():
        now = timezone.now()
        changed: list[Order] = []
        events: list[OrderEvent] = []
        for order in lock_orders(ids).values():
            reason = reason_not_to_retry(order)
            if reason is not None:
                retried.passed_over[order.id] = reason
                continue
            (retried.looked_up if order.may_be_at_exchange else retried.sent).append(order.id)
            events += lifecycle.retry_requested(order, now, policy, by=requested_by)
            changed.append(order)
        save_changes(changed, events)
        if changed:
            wake_workers([order.id for order in changed])
    return retried
