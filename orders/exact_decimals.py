"""Exact sums of money, and amounts as text."""

from decimal import ROUND_HALF_EVEN, Context, Decimal

# Enough for every sum: 10 digits of quantity times 25 of a price, added once for each unit. Python's default of 28 digits
# is less than the columns hold.
EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


def plain_text(amount: Decimal) -> str:
    """All digits, without trailing zeros in the fraction. `normalize` would round to Python's 28 digits."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
