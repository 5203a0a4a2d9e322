"""An operator retries failed orders, in the admin or with `manage.py retry_failed`."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.utils import timezone

from infrastructure.database.base import in_transaction
from infrastructure.database.clock import database_now
from orders import lifecycle
from orders.event_data import Cause
from orders.models import AccountLimits, Order, OrderEvent
from orders.retry_policy import PlacementPolicy
from orders.risk.halts import halts_not_released, is_halted
from orders.risk.limits import lock_limits, refusals
from orders.states import Status
from orders.storage import lock_orders, save_changes
from orders.wakeups import carrier

RETRYABLE = (Status.FAILED, Status.ERROR)


@dataclass
class Retried:
    """The result of a retry: ids of orders that will be sent again or looked up first, and why others were passed over."""

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


def reason_not_to_retry(order: Order, *, alone: bool = False) -> str | None:
    """Why the order's own state rules out a retry, or None. `alone`: it is retried on its own, not with others."""
    if order.status not in RETRYABLE:
        return f"is {order.status}"
    if order.expires_at is not None and order.expires_at <= timezone.now() and not order.may_be_at_exchange:
        return "has expired"
    if order.is_refused_by_limits and not alone:
        return "was refused by limits: retry it alone"
    return None


def reasons_not_to_retry(orders: Sequence[Order], *, alone: bool = False, lock: bool = False) -> dict[uuid.UUID, str]:
    """Why orders cannot be retried, by id: the order's own state, a halt, or the current limits of its account.

    With `lock` no other transaction uses up the accounts' limits before the caller's transaction ends.
    """
    reasons = halted(orders)
    reasons |= {order.id: reason for order in orders if (reason := reason_not_to_retry(order, alone=alone))}
    reasons |= refused_by_limits([order for order in orders if order.id not in reasons], lock=lock)
    # The locks may have been waited for, perhaps until after a halt began.
    return halted(orders) | reasons if lock else reasons


def halted(orders: Sequence[Order]) -> dict[uuid.UUID, str]:
    halts = halts_not_released()
    return {order.id: "cannot be sent while trading is halted" for order in orders if is_halted(order, halts)}


def refused_by_limits(orders: Sequence[Order], *, lock: bool) -> dict[uuid.UUID, str]:
    """Why limits rule out a retry, by id. The limit of orders per second is for clients and does not count here."""
    reasons: dict[uuid.UUID, str] = {}
    limited = AccountLimits.objects.filter(account_id__in={order.account_id for order in orders}).order_by("account_id")
    for limits in limited:
        current = lock_limits(limits.account_id) if lock and limits.open_orders is not None else limits
        if current is None:
            continue
        for status in RETRYABLE:
            of_account = [order for order in orders if (order.account_id, order.status) == (current.account_id, status)]
            # An order in error may be at the exchange and counts as open whether it is retried or not.
            refused = refusals(current, of_account, are_open=status == Status.ERROR)
            reasons |= {of_account[index].id: f"would break a limit: {found.message}" for index, found in refused.items()}
    return reasons


@in_transaction
def retry_orders(ids: Sequence[uuid.UUID], requested_by: str, *, alone: bool = False) -> Retried:
    """Make failed orders pending again. One that may be at the exchange is looked up before it is sent. Safe to repeat.

    Pass at most a few hundred ids, because all are locked at once. An order that was refused by limits is retried only
    `alone`, after an operator has looked at that one order, and never together with others.
    """
    retried = Retried()
    policy = PlacementPolicy.from_settings()
    orders = lock_orders(ids)
    retried.passed_over = reasons_not_to_retry(list(orders.values()), alone=alone, lock=True)
    now = database_now()
    changed = [order for order in orders.values() if order.id not in retried.passed_over]
    events: list[OrderEvent] = []
    for order in changed:
        (retried.looked_up if order.may_be_at_exchange else retried.sent).append(order.id)
        events += lifecycle.retry_requested(order, now, policy, Cause(by=requested_by))
    save_changes(changed, events)
    if changed:
        carrier().wake_workers([order.id for order in changed])
    return retried
