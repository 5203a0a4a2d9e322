"""The enums of orders, and the allowed changes of status as data.

Placement (`Status`) says whether the exchange has the order; execution (`ExecutionStatus`, FIX tag 39 OrdStatus) says
what the exchange has done with it since.
"""

from dataclasses import dataclass

from django.db.models import TextChoices


class OrderType(TextChoices):
    MARKET = "market"
    LIMIT = "limit"


class Side(TextChoices):
    BUY = "buy"
    SELL = "sell"


class Status(TextChoices):
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    ERROR = "error"
    CANCELED = "canceled"


class ExecutionStatus(TextChoices):
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    PENDING_CANCEL = "pending_cancel"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"


class ErrorCode(TextChoices):
    EXCHANGE_UNAVAILABLE = "exchange_unavailable"
    REFUSED_BY_EXCHANGE = "refused_by_exchange"
    REFUSED_BY_LIMITS = "refused_by_limits"
    EXPIRED_BEFORE_PLACEMENT = "expired_before_placement"
    OUTCOME_UNKNOWN = "outcome_unknown"
    INTERNAL_ERROR = "internal_error"


class EventType(TextChoices):
    ACCEPTED = "accepted"
    RETRYING = "retrying"
    PLACED = "placed"
    FAILED = "failed"
    ERROR = "error"
    CANCELED = "canceled"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCEL_REQUESTED = "cancel_requested"
    PENDING_CANCEL = "pending_cancel"
    CANCEL_REJECTED = "cancel_rejected"
    REJECTED = "rejected"
    EXPIRED = "expired"
    RETRY_REQUESTED = "retry_requested"
    RECONCILED = "reconciled"
    HELD = "held"
    RELEASED = "released"


class Limit(TextChoices):
    """Why limits refuse an order; the `code` in the API's response."""

    QUANTITY = "max_quantity"
    NOTIONAL = "max_notional"
    PRICE_COLLAR = "price_collar"
    OPEN_ORDERS = "open_orders"
    RATE = "orders_per_second"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an account's limits refuse an order; `message` is for its client."""

    limit: Limit
    message: str


class SafetyEventType(TextChoices):
    HALTED = "halted"
    RESUMED = "resumed"
    LIMITS_CHANGED = "limits_changed"


STATUS_CHANGES: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.COMPLETED, Status.FAILED, Status.ERROR, Status.CANCELED}),
    # An operator retries it, or an acknowledgement arrives after we gave up, which counts however late it is.
    Status.FAILED: frozenset({Status.PENDING, Status.COMPLETED, Status.CANCELED}),
    # An operator retries it, or a look-up settles it either way.
    Status.ERROR: frozenset({Status.PENDING, Status.COMPLETED, Status.FAILED, Status.CANCELED}),
    Status.COMPLETED: frozenset(),
    # Only by a late acknowledgement: the exchange has the order after all, and is then asked to cancel it.
    Status.CANCELED: frozenset({Status.COMPLETED}),
}

OPEN_EXECUTION = frozenset({ExecutionStatus.NEW, ExecutionStatus.PARTIALLY_FILLED, ExecutionStatus.PENDING_CANCEL})
TERMINAL_EXECUTION = frozenset(ExecutionStatus) - OPEN_EXECUTION

# None stands for an order that the exchange is not known to have. The first report that arrives may be of any status.
EXECUTION_STATUS_CHANGES: dict[ExecutionStatus | None, frozenset[ExecutionStatus]] = {
    None: frozenset(ExecutionStatus),
    ExecutionStatus.NEW: frozenset(ExecutionStatus) - {ExecutionStatus.NEW},
    ExecutionStatus.PARTIALLY_FILLED: frozenset(ExecutionStatus) - {ExecutionStatus.NEW, ExecutionStatus.PARTIALLY_FILLED},
    # A rejected cancel restores the order's earlier status.
    ExecutionStatus.PENDING_CANCEL: frozenset(ExecutionStatus) - {ExecutionStatus.PENDING_CANCEL},
    ExecutionStatus.FILLED: frozenset(),
    # Terminal, but a fill that was under way still counts and may complete the order.
    ExecutionStatus.CANCELED: frozenset({ExecutionStatus.FILLED}),
    ExecutionStatus.REJECTED: frozenset({ExecutionStatus.FILLED}),
    ExecutionStatus.EXPIRED: frozenset({ExecutionStatus.FILLED}),
}
