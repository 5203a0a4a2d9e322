"""The book of the simulated exchange: every order that it ever took, rebuilt from recorded changes.

A change is one small JSON list, and only `Book.apply` alters the book. A restart that applies the same changes in the same
order therefore ends with the same orders, the same session and the same sequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from exchange import untrusted
from exchange.reports import FILLS, STATUS_AFTER, TERMINAL_STATUSES, OrderStatus, ReportType
from exchange.simulator.placements import Terms, price_text

Change = list[Any]
EIGHT_PLACES = Decimal("0.00000001")


@dataclass(slots=True)
class BookOrder:
    """One order. `filled_cents` is the exact value of its fills; times are Unix seconds.

    `report_lies` and `look_up_lies` count the false statements made about it.
    """

    number: int
    client_order_id: str
    exchange_order_id: str
    terms: Terms
    received_at: float
    status: OrderStatus = OrderStatus.PENDING_NEW
    filled_quantity: int = 0
    filled_cents: int = 0
    times_received: int = 1
    is_cancel_requested: bool = False
    report_lies: int = 0
    look_up_lies: int = 0

    @property
    def is_open(self) -> bool:
        return self.status not in TERMINAL_STATUSES

    @property
    def open_quantity(self) -> int:
        return self.terms.quantity - self.filled_quantity

    def average_price(self) -> str | None:
        """The average price of the fills with at most eight decimal places, or None without fills."""
        if not self.filled_quantity:
            return None
        average = Decimal(self.filled_cents) / (100 * self.filled_quantity)
        return format(average.quantize(EIGHT_PLACES).normalize(), "f")


class Report(NamedTuple):
    """One report as it goes to the feed: `payload` is its JSON, encoded once for all readers."""

    sequence: int
    occurred_at: float
    type: ReportType
    order: BookOrder
    payload: bytes


class Book:
    """Orders by id and in order of arrival, and the feed's session and last sequence."""

    def __init__(self) -> None:
        self.book_id = ""
        self.session_id = ""
        self.last_sequence = 0
        self.in_order: list[BookOrder] = []
        self.last_cents: dict[str, int] = {}
        self._by_id: dict[str, BookOrder] = {}
        self._report_count = 0

    def find(self, client_order_id: str) -> BookOrder | None:
        return self._by_id.get(client_order_id)

    def open_orders(self) -> Iterator[BookOrder]:
        return (order for order in self.in_order if order.is_open)

    def apply(self, change: Change) -> Report | None:
        """Apply one change and return the report that it produces, if any.

        Changes are ["session", id], ["order", client_order_id, received_at, *terms], ["repeat", number], ["cancel", number],
        ["report", number, type, last_quantity, last_cents, occurred_at, reason, told_ahead_s] and, for lies,
        ["report_lie", number, fields, occurred_at, told_ahead_s] and ["look_up_lie", number]. Raises KeyError, IndexError,
        TypeError or ValueError for anything else.
        """
        kind, *values = change
        if kind == "report":
            return self._apply_report(*values)
        if kind == "report_lie":
            return self._apply_report_lie(*values)
        if kind == "order":
            client_order_id, received_at, *terms = values
            number = len(self.in_order)
            # The book's id comes first, so that two books never give two orders the same id.
            exchange_order_id = f"{self.book_id[:8]}-{number}"
            order = BookOrder(number, client_order_id, exchange_order_id, Terms(*terms), received_at)
            self.in_order.append(order)
            self._by_id[client_order_id] = order
        elif kind == "repeat":
            self.in_order[values[0]].times_received += 1
        elif kind == "cancel":
            self.in_order[values[0]].is_cancel_requested = True
        elif kind == "look_up_lie":
            self.in_order[values[0]].look_up_lies += 1
        elif kind == "session":
            self.session_id = values[0]
            self.book_id = self.book_id or self.session_id
            self.last_sequence = 0
        else:
            raise ValueError(f"unknown change {kind!r}")
        return None

    def _apply_report(
        self,
        number: int,
        kind: str,
        last_quantity: int | None,
        last_cents: int | None,
        occurred_at: float,
        reason: str | None,
        told_ahead_s: float = 0.0,
    ) -> Report:
        order, report_type = self.in_order[number], ReportType(kind)
        order.status = STATUS_AFTER.get(report_type, order.status)
        if report_type in FILLS and last_quantity is not None and last_cents is not None:
            order.filled_quantity += last_quantity
            order.filled_cents += last_quantity * last_cents
            self.last_cents[order.terms.instrument] = last_cents
        elif report_type is ReportType.CANCEL_REJECTED:
            order.is_cancel_requested = False
        fields = {
            "type": kind,
            "last_quantity": last_quantity,
            "last_price": None if last_cents is None else price_text(last_cents),
            "reason": reason,
        }
        return self._next_report(order, fields, occurred_at, told_ahead_s)

    def _apply_report_lie(self, number: int, fields: dict[str, Any], occurred_at: float, told_ahead_s: float) -> Report:
        order = self.in_order[number]
        order.report_lies += 1
        return self._next_report(order, fields, occurred_at, told_ahead_s)

    def _next_report(self, order: BookOrder, fields: dict[str, Any], occurred_at: float, told_ahead_s: float) -> Report:
        """The next report of the feed: the order's state in the book, overridden by `fields`."""
        self.last_sequence += 1
        self._report_count += 1
        state = {
            "sequence": self.last_sequence,
            "execution_id": f"E{self._report_count}",
            "client_order_id": order.client_order_id,
            "exchange_order_id": order.exchange_order_id,
            "account": order.terms.account,
            "type": None,
            "last_quantity": None,
            "last_price": None,
            "filled_quantity": order.filled_quantity,
            "average_price": order.average_price(),
            "reason": None,
            "occurred_at": untrusted.rfc3339(datetime.fromtimestamp(occurred_at + told_ahead_s, UTC)),
        }
        return Report(self.last_sequence, occurred_at, ReportType(fields["type"]), order, orjson.dumps(state | fields))


def describe(order: BookOrder) -> dict[str, Any]:
    """The order as the exchange shows it: identity, terms, state and totals."""
    terms = order.terms
    return {
        "exchange_order_id": order.exchange_order_id,
        "client_order_id": order.client_order_id,
        "status": order.status.value,
        "account": terms.account,
        "type": terms.type,
        "side": terms.side,
        "instrument": terms.instrument,
        "limit_price": None if terms.limit_cents is None else price_text(terms.limit_cents),
        "quantity": terms.quantity,
        "filled_quantity": order.filled_quantity,
        "average_price": order.average_price(),
    }
