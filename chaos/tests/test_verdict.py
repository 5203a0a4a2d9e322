"""The verdict counts what is wrong, and nothing else."""

from decimal import Decimal
from typing import Any

import pytest

from chaos.verdict import Verdict, judge

ID = "01a20c26-0000-7000-8000-000000000001"
ORDER: dict[str, Any] = {
    "id": ID,
    "client_order_id": "c1",
    "status": "completed",
    "error_code": None,
    "next_attempt_at": None,
    "look_up_at": None,
    "discrepancy": None,
    "execution_status": "filled",
    "filled_quantity": 10,
    "average_price": Decimal("20.5"),
}
IN_BOOK = {
    "status": "filled",
    "filled_quantity": 10,
    "average_price": "20.50000000",
    "times_received": 1,
    "is_cancel_requested": False,
    "account": "7",
    "instrument": "AAPL_2025_03",
    "received_at": 150.0,
    "report_lies": 0,
    "look_up_lies": 0,
}
ALL = {"account": None, "instrument": None, "confirmed_at": 100.0, "ended_at": 200.0}


class StubInstallation:
    """A stub of the system that returns the given data."""

    def __init__(
        self,
        orders: list[dict[str, Any]],
        book: dict[str, Any],
        placed: int = 1,
        wrong_fills: int = 0,
        flagged: tuple[str, ...] = (),
        halts: tuple[dict[str, Any], ...] = (),
    ) -> None:
        self.orders, self.in_book, self.placed, self.wrong_fills = orders, book, placed, wrong_fills
        self.flagged, self.halts = flagged, list(halts)
        self.seen = ["e1"]

    def query(self, statement: str) -> list[dict[str, Any]]:
        if "orders_halt" in statement:
            return self.halts
        if "orders_deadletter" in statement:
            return [{"order_id": id} for id in self.flagged]
        if "orders_orderevent e" in statement:
            return [{"id": ID}] * self.wrong_fills
        if "type = 'placed'" in statement:
            return [{"order_id": ID}] * self.placed
        return [{"event_id": "e1"}] if "event_id" in statement else self.orders

    def book(self) -> dict[str, Any]:
        return self.in_book

    def seen_event_ids(self) -> list[str]:
        return self.seen


def verdict(*, answered: tuple[str, ...] = ("c1",), seen: tuple[str, ...] = ("e1",), **told: Any) -> Verdict:
    system = StubInstallation(**{"orders": [ORDER], "book": {ID: IN_BOOK}} | told)
    system.seen = list(seen)
    return judge(system, answered)  # type: ignore[arg-type]


def test_a_system_in_order_is_clean() -> None:
    assert verdict() == Verdict(accepted=1)
    assert verdict().is_clean


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"answered": ("c1", "c2")}, Verdict(accepted=2, lost=1)),
        ({"book": {}}, Verdict(accepted=1, lost=1)),
        ({"orders": [], "book": {}}, Verdict(accepted=1, lost=1)),
        ({"orders": [ORDER | {"status": "failed", "error_code": "internal_error"}], "book": {}}, Verdict(accepted=1, lost=1)),
        ({"orders": [], "answered": ()}, Verdict(doubled=1, differing=1)),
        ({"book": {ID: IN_BOOK | {"times_received": 2}}}, Verdict(accepted=1, doubled=1)),
        ({"placed": 2}, Verdict(accepted=1, doubled=1)),
        ({"orders": [ORDER | {"next_attempt_at": "now"}]}, Verdict(accepted=1, stuck=1)),
        ({"orders": [ORDER | {"status": "error"}], "book": {}}, Verdict(accepted=1, stuck=1)),
        ({"orders": [ORDER | {"filled_quantity": 9}]}, Verdict(accepted=1, differing=1)),
        ({"orders": [ORDER | {"execution_status": "canceled"}]}, Verdict(accepted=1, differing=1)),
        ({"orders": [ORDER | {"average_price": Decimal(20)}]}, Verdict(accepted=1, differing=1)),
        ({"wrong_fills": 1}, Verdict(accepted=1, differing=1)),
        ({"seen": ()}, Verdict(accepted=1, unseen=1)),
        ({"orders": [ORDER | {"look_up_at": "now"}]}, Verdict(accepted=1, stuck=1)),
        ({"orders": [ORDER | {"discrepancy": "the exchange says 9"}]}, Verdict(accepted=1, stuck=1)),
        ({"halts": [ALL]}, Verdict(accepted=1, halts=1, leaked=1)),
        ({"halts": [ALL, ALL | {"ended_at": None}]}, Verdict(accepted=1, halts=2, leaked=1)),
        ({"halts": [ALL | {"account": "7"}]}, Verdict(accepted=1, halts=1, leaked=1)),
        ({"halts": [ALL | {"instrument": "AAPL_2025_03"}]}, Verdict(accepted=1, halts=1, leaked=1)),
        ({"book": {ID: IN_BOOK | {"report_lies": 1}}}, Verdict(accepted=1, lied_about=1, misflagged=1)),
        ({"flagged": [ID]}, Verdict(accepted=1, misflagged=1)),
    ],
)
def test_what_is_wrong_is_counted(told: dict[str, Any], expected: Verdict) -> None:
    assert verdict(**told) == expected
    assert not verdict(**told).is_clean


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"book": {ID: IN_BOOK | {"report_lies": 2}}, "flagged": [ID]}, Verdict(accepted=1, lied_about=1)),
        ({"book": {ID: IN_BOOK | {"look_up_lies": 1}}, "flagged": [ID]}, Verdict(accepted=1, lied_about=1)),
        # The look-up's answer may have been lost.
        ({"book": {ID: IN_BOOK | {"look_up_lies": 1}}}, Verdict(accepted=1, lied_about=1)),
        ({"halts": [ALL | {"confirmed_at": 150.1}]}, Verdict(accepted=1, halts=1)),
        ({"halts": [ALL | {"ended_at": 149.9}]}, Verdict(accepted=1, halts=1)),
        ({"halts": [ALL | {"account": "8"}]}, Verdict(accepted=1, halts=1)),
        ({"halts": [ALL | {"instrument": "MSFT_2025_03"}]}, Verdict(accepted=1, halts=1)),
    ],
)
def test_what_is_not_wrong_is_not_counted(told: dict[str, Any], expected: Verdict) -> None:
    assert verdict(**told) == expected
    assert verdict(**told).is_clean
