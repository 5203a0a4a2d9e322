"""What an order's fills add up to. Pure.

The exchange reports each fill with the total after it. So a fill covers the units of the order above `total - last` up to
`total`, and fills that are told apart by their units can be counted in any order and any number of times.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from orders.exact import EXACT

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
    """The fill that an event's data tells of."""
    total, last = data["filled_quantity"], data["last_quantity"]
    return Fill(total - last, total, Decimal(data["last_price"]))


def sum_of(values: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for value in values:
        total = EXACT.add(total, value)
    return total


def value_up_to(quantity: int, fills: Iterable[Fill]) -> Decimal | None:
    """The exact value of the first `quantity` units, or None when the fills, which do not overlap, do not cover all of them."""
    within = [fill for fill in fills if fill.end <= quantity]
    if sum(fill.end - fill.start for fill in within) < quantity:
        return None
    return sum_of(fill.value for fill in within)


def average_price(value: Decimal, quantity: int) -> Decimal:
    """Rounded to 8 places, half to even."""
    return EXACT.quantize(EXACT.divide(value, Decimal(quantity)), EIGHT_PLACES)


def is_average_of(told: Decimal, value: Decimal, quantity: int) -> bool:
    """Whether an average as the exchange wrote it, in as many places as it likes, is that of the exact value.

    It may round either way, so it may be off by less than one unit of its last place.
    """
    difference = EXACT.subtract(told, EXACT.divide(value, Decimal(quantity))).copy_abs()
    exponent = told.as_tuple().exponent
    assert isinstance(exponent, int), "prices are finite"
    return difference < Decimal(1).scaleb(exponent)
