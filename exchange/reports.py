"""The vocabulary of the execution feed: report types, order states at the exchange, and parsed reports (FIX ExecutionReport)."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from exchange import untrusted
from exchange.untrusted import BadValue

MAX_ACCOUNT_LENGTH = 150
MAX_FRAME_BYTES = 64 * 1024


class ReportType(StrEnum):
    """What happened (FIX tag 150 ExecType; cancel_rejected is FIX OrderCancelReject, MsgType 9)."""

    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    CANCEL_REJECTED = "cancel_rejected"
    REJECTED = "rejected"
    EXPIRED = "expired"


class OrderStatus(StrEnum):
    """The state of an order in the exchange's book (FIX tag 39 OrdStatus)."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"


FILLS = frozenset({ReportType.PARTIALLY_FILLED, ReportType.FILLED})
TERMINAL_STATUSES = frozenset({OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED})
# The state of an order after each report; a rejected cancel leaves it unchanged.
STATUS_AFTER = {
    ReportType.NEW: OrderStatus.NEW,
    ReportType.PARTIALLY_FILLED: OrderStatus.PARTIALLY_FILLED,
    ReportType.FILLED: OrderStatus.FILLED,
    ReportType.CANCELED: OrderStatus.CANCELED,
    ReportType.REJECTED: OrderStatus.REJECTED,
    ReportType.EXPIRED: OrderStatus.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class Session:
    """The feed's first message. Sequences count within a session; reports before `first_sequence` are no longer retained."""

    session_id: str
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """One change of one order.

    `last_quantity` and `last_price` belong to this execution (FIX tags 32 and 31) and are set for fills only;
    `filled_quantity` and `average_price` are totals after it (FIX tags 14 and 6). `occurred_at` is aware UTC.
    `execution_id` (FIX tag 17) is unique within a session; a repeated report has the same one, and the same `sequence`.
    """

    sequence: int
    execution_id: str
    client_order_id: str
    exchange_order_id: str
    account: str
    type: ReportType
    last_quantity: int | None
    last_price: Decimal | None
    filled_quantity: int
    average_price: Decimal | None
    reason: str | None
    occurred_at: datetime
    # The frame's text, kept when the report cannot be applied.
    raw: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class BadReport:
    """A frame that is not a valid report.

    `raw` is its text, cut to 64 KiB and free of NUL; `sequence` and `client_order_id` are set when they can be read.
    """

    raw: str
    error: str
    sequence: int | None
    client_order_id: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """The part of a frame that is needed to pass it on; unreadable fields are None. `frame` is the frame as received."""

    frame: bytes
    sequence: int | None
    client_order_id: str | None


FeedMessage = Session | ExecutionReport | BadReport


def parse_frame(frame: bytes) -> FeedMessage:
    """Parse one frame of the feed. Never raises: a frame that cannot be parsed is returned as BadReport."""
    document: dict[str, Any] = {}
    try:
        document = untrusted.load_object(frame)
        if len(frame) <= MAX_FRAME_BYTES:
            return _read_session(document) if document.get("type") == "session" else _read_report(document, frame.decode())
        problem = f"longer than {MAX_FRAME_BYTES} bytes"
    except BadValue as error:
        problem = untrusted.printable(str(error))
    return BadReport(raw_text(frame), problem, _sequence_of(document), _client_order_id_of(document))


def raw_text(frame: bytes) -> str:
    """The text of an invalid frame, cut to what can be stored and shown."""
    return untrusted.text_of(frame[:MAX_FRAME_BYTES])


def read_envelope(frame: bytes) -> Session | Envelope:
    """Read only the fields that say where a frame belongs. Never raises."""
    try:
        document = untrusted.load_object(frame)
        if document.get("type") == "session":
            return _read_session(document)
    except BadValue:
        return Envelope(frame, None, None)
    return Envelope(frame, _sequence_of(document), _client_order_id_of(document))


def _read_session(document: dict[str, Any]) -> Session:
    first_sequence = untrusted.read_whole_number(document, "first_sequence")
    last_sequence = untrusted.read_whole_number(document, "last_sequence")
    if first_sequence > last_sequence + 1:
        raise BadValue("first_sequence is beyond last_sequence")
    return Session(untrusted.read_identifier(document, "session_id"), first_sequence, last_sequence)


def _read_report(document: dict[str, Any], raw: str) -> ExecutionReport:
    try:
        report_type = ReportType(document.get("type", ""))
    except ValueError as error:
        raise BadValue("type is not one of " + ", ".join(ReportType)) from error
    is_fill = report_type in FILLS
    filled_quantity = untrusted.read_whole_number(document, "filled_quantity")
    average_price = untrusted.read_average_price(document, filled_quantity)
    last_quantity = untrusted.read_whole_number(document, "last_quantity", minimum=1) if is_fill else None
    last_price = untrusted.read_positive_price(document, "last_price") if is_fill else None
    if is_fill and last_price is None:
        raise BadValue("last_price is missing in a fill")
    if last_quantity is not None and last_quantity > filled_quantity:
        raise BadValue("last_quantity is larger than filled_quantity")
    return ExecutionReport(
        untrusted.read_whole_number(document, "sequence", minimum=1),
        untrusted.read_identifier(document, "execution_id"),
        untrusted.read_identifier(document, "client_order_id"),
        untrusted.read_identifier(document, "exchange_order_id"),
        untrusted.read_identifier(document, "account", MAX_ACCOUNT_LENGTH),
        report_type,
        last_quantity,
        last_price,
        filled_quantity,
        average_price,
        untrusted.read_reason(document),
        untrusted.read_moment(document, "occurred_at"),
        raw,
    )


def _sequence_of(document: dict[str, Any]) -> int | None:
    try:
        return untrusted.read_whole_number(document, "sequence", minimum=1)
    except BadValue:
        return None


def _client_order_id_of(document: dict[str, Any]) -> str | None:
    value = document.get("client_order_id")
    return value if type(value) is str else None
