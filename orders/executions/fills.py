"""The totals of an order's fills. Pure.

The exchange reports each fill with the total after it. So a fill covers the units of the order above `total - last` up to
`total`. Its units identify it, so fills can be counted in any order, and repeats are recognised.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from orders.event_data import FillData
from orders.exact_decimals import EXACT

EIGHT_PLACES = Decimal("0.00000001")


@dataclass(frozen=True, slots=True)
class Fill:
    """The units of an order above `start` up to `end`, each at `price` (FIX tags 14 CumQty, 32 LastQty, 31 LastPx)."""

    start: int
    end: int
    price: Decimal

    @property
    def value(self) -> Decimal:
        return EXACT.multiply(Decimal(self.end - self.start), self.price)

    def overlaps(self, other: "Fill") -> bool:
        return self.start < other.end and other.start < self.end


def read_fill(data: Mapping[str, Any]) -> Fill:
    """The fill in an event's data."""
    fill = FillData.read(data)
    return Fill(fill.filled_quantity - fill.last_quantity, fill.filled_quantity, fill.last_price)


def sum_of(values: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for value in values:
        total = EXACT.add(total, value)
    return total


def value_up_to(quantity: int, fills: Iterable[Fill]) -> Decimal | None:
    """The exact value of the first `quantity` units, or None if the fills do not cover all of them. Fills never overlap."""
    within = [fill for fill in fills if fill.end <= quantity]
    if sum(fill.end - fill.start for fill in within) < quantity:
        return None
    return sum_of(fill.value for fill in within)


def average_price(value: Decimal, quantity: int) -> Decimal:
    """The average, rounded half to even to 8 places."""
    return EXACT.quantize(EXACT.divide(value, Decimal(quantity)), EIGHT_PLACES)


def is_average_of(reported: Decimal, value: Decimal, quantity: int) -> bool:
    """Whether the exchange's average, in any number of places, agrees with the exact value.

    The exchange may round either way, so its average may be off by less than one unit of its last place.
    """
    difference = EXACT.subtract(reported, EXACT.divide(value, Decimal(quantity))).copy_abs()
    exponent = reported.as_tuple().exponent
    assert isinstance(exponent, int), "prices are finite"
    return difference < Decimal(1).scaleb(exponent)
