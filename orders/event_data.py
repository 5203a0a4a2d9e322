"""What each type of event says, kept as JSON in `OrderEvent.data`; clients and the order desk read the same.

Times are UTC, prices are per unit of the instrument and become text. What is None is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self, dataclass_transform

from orders.states import EventType


@dataclass(frozen=True, kw_only=True)
class Cause:
    """How an event came about: by an attempt of ours and the exchange's answer to it, by a report, or by somebody's request.

    `attempt` counts the order's exchange calls from 1, `took_ms` is how long this one took, in milliseconds. `by` names an
    account, an operator or a command.
    """

    attempt: int | None = None
    took_ms: float | None = None
    looked_up: Literal[True] | None = None
    from_feed: Literal[True] | None = None
    by: str | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """The cause in an event's stored data."""
        return cls(**{field.name: data.get(field.name) for field in fields(cls)})


NO_CAUSE = Cause()


@dataclass_transform(frozen_default=True, kw_only_default=True)
class EventData:
    """Each subclass is a dataclass, and names its `type` unless it is itself only a base."""

    type: ClassVar[EventType]

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)


def event_json(data: EventData, cause: Cause) -> dict[str, Any]:
    return {name: value for name, value in {**vars(data), **vars(cause)}.items() if value is not None}


class AcceptedData(EventData):
    type = EventType.ACCEPTED


class PlacedData(EventData):
    """FIX tag 37 OrderID."""

    type = EventType.PLACED
    exchange_order_id: str


class ProblemData(EventData):
    """The order's `error_code` and `error_message` at that time."""

    error_code: str
    error_message: str


class RetryingData(ProblemData):
    type = EventType.RETRYING
    next_attempt_at: datetime


class FailedData(ProblemData):
    """`limit` is the `Limit` that refused the order."""

    type = EventType.FAILED
    limit: str | None = None


class ErrorData(ProblemData):
    type = EventType.ERROR


class HeldData(EventData):
    type = EventType.HELD
    reason: str


class ReleasedData(EventData):
    """`halted_s`: for how long a halt delayed the order, in seconds."""

    type = EventType.RELEASED
    halted_s: float
    next_attempt_at: datetime | None
    give_up_at: datetime


class RetryRequestedData(EventData):
    type = EventType.RETRY_REQUESTED
    will_be: Literal["looked up", "sent"]


class CancelRequestedData(EventData):
    type = EventType.CANCEL_REQUESTED
    reason: str | None = None


class PendingCancelData(EventData):
    type = EventType.PENDING_CANCEL


class ReportedData(EventData):
    """An execution report, by its sequence number in the feed and the exchange's reason; or a conclusion of ours."""

    sequence: int | None = None
    reason: str | None = None

    @staticmethod
    def is_report(data: Mapping[str, Any]) -> bool:
        """Whether an event's data came from a report."""
        return "sequence" in data


class CancelRejectedData(ReportedData):
    type = EventType.CANCEL_REJECTED


class CanceledData(ReportedData):
    """`absent_since`: since when the exchange has not known the order that an operator ended."""

    type = EventType.CANCELED
    absent_since: datetime | None = None


class RejectedData(ReportedData):
    type = EventType.REJECTED


class ExpiredData(ReportedData):
    type = EventType.EXPIRED


class FillData(ReportedData):
    """FIX tags 32 LastQty, 31 LastPx and 14 CumQty."""

    last_quantity: int
    last_price: Decimal
    filled_quantity: int

    @staticmethod
    def has_fill(data: Mapping[str, Any]) -> bool:
        """Whether an event's data holds a fill."""
        return "last_quantity" in data

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """The fill in an event's data, new or stored."""
        price = Decimal(data["last_price"])
        return cls(last_quantity=data["last_quantity"], last_price=price, filled_quantity=data["filled_quantity"])


class PartiallyFilledData(FillData):
    type = EventType.PARTIALLY_FILLED


class FilledData(FillData):
    type = EventType.FILLED


class ReconciledData(EventData):
    """The order before and after a look-up: `execution_status`, `filled_quantity`, `average_price`."""

    type = EventType.RECONCILED
    before: dict[str, object]
    after: dict[str, object]
