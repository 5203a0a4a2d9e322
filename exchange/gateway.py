"""What Lemon Market asks of an exchange: place, look up, cancel. Every venue is one implementation of `Gateway`.

Each answer is a value, never an exception, because it is an expected outcome that the caller has to record.
The distinction that matters everywhere is whether an order may have been sent: `Unavailable` says that the order is
certainly not at the exchange, `Unknown` that it may be.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Placement:
    """One order as it goes to the exchange (FIX NewOrderSingle, MsgType D).

    `client_order_id` (FIX tag 11) is the order's id, the same on every attempt, so that the exchange can drop a repeat.
    The exchange must not take the order after `valid_until` (aware UTC).
    """

    client_order_id: str
    account: str
    type: str
    side: str
    instrument: str
    limit_price: Decimal | None
    quantity: int
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The exchange has the order, from this send or from an earlier one with the same terms."""

    exchange_order_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Refused for good: this send did not put the order into the book, and no repeat will."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Certainly not taken; to be sent again later.

    `retry_after_s` is what the exchange asked for (RFC 9110 Retry-After). `exchange_is_unavailable` is true when no
    connection could be made at all, which says something about the exchange and not about this order.
    """

    reason: str
    retry_after_s: float | None = None
    exchange_is_unavailable: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent without a credible answer: the order may or may not be in the book."""

    reason: str


@dataclass(frozen=True, slots=True)
class TermsConflict:
    """The exchange has this id with other terms. An operator has to explain it; sending or looking up again cannot fix it.

    `raw` is the text of a look-up's answer, for the operator to read.
    """

    reason: str
    raw: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The answer to a look-up of this order contradicts itself: it proves nothing about this order or any other.

    `raw` is the answer's text.
    """

    reason: str
    raw: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """The exchange's view of an order, which includes all reports of the feed session `session_id` up to `last_sequence`.

    `filled_quantity` is at most the ordered quantity. `average_price` is above 0, or None while nothing is filled. `raw` is
    the answer's text.
    """

    exchange_order_id: str
    status: str
    filled_quantity: int
    average_price: Decimal | None
    session_id: str
    last_sequence: int
    raw: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class NotFound:
    """The exchange does not know the id *now*; a send that is under way may still arrive, until its `valid_until`."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The exchange took the cancel request; its result comes on the feed."""


@dataclass(frozen=True, slots=True)
class CancelTooLate:
    """Nothing is left to cancel."""

    reason: str


PlacementOutcome = Acknowledged | Refused | Unavailable | Unknown | TermsConflict
LookUpOutcome = Found | NotFound | TermsConflict | Contradiction | Unavailable | Unknown
CancelOutcome = CancelRequested | CancelTooLate | NotFound | Unavailable | Unknown


class Gateway(Protocol):
    """A venue. Implementations keep their connections open between calls and are used from one event loop."""

    async def place(self, placement: Placement) -> PlacementOutcome:
        """Send a new order; returns within the gateway's own timeout."""

    async def look_up(self, placement: Placement) -> LookUpOutcome:
        """Ask for the order with this placement's `client_order_id`, and compare the terms that the exchange states."""

    async def cancel(self, client_order_id: str) -> CancelOutcome:
        """Ask the exchange to cancel (FIX OrderCancelRequest, MsgType F)."""

    async def close(self) -> None:
        """Close all connections."""
