"""Reads what an exchange sent: no value is trusted until its type, range and length are checked.

Every value that passes can be stored as it is: printable text of bounded length (PostgreSQL rejects NUL), whole numbers
that fit into a bigint, plain decimal prices. Everything else raises `BadValue`.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

MAX_IDENTIFIER_LENGTH = 64
MAX_REASON_LENGTH = 500
MAX_WHOLE_NUMBER = 2**63 - 1
# Plain notation only: Decimal itself also accepts NaN, Infinity, 1E+400, underscores and the digits of other scripts.
PRICE = re.compile(r"[0-9]{1,17}(\.[0-9]{1,8})?", re.ASCII)


class BadValue(ValueError):
    """A value from the exchange is missing, or its type, range or length violates the protocol."""


def load_object(text: bytes | str) -> dict[str, Any]:
    """Parse one JSON object; anything else, even a list or a number, raises BadValue."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadValue(f"not JSON: {error}") from error
    if type(document) is not dict:
        raise BadValue("not a JSON object")
    return document


def read_identifier(document: dict[str, Any], name: str, max_length: int = MAX_IDENTIFIER_LENGTH) -> str:
    """Read a non-empty printable string."""
    value = document.get(name)
    if type(value) is not str or not value or len(value) > max_length or not value.isprintable():
        raise BadValue(f"{name} is not a string of 1 to {max_length} printable characters")
    return value


def read_whole_number(document: dict[str, Any], name: str, minimum: int = 0) -> int:
    """Read an integer from `minimum` to 2**63 - 1; true and 1.0 do not count as integers."""
    value = document.get(name)
    if type(value) is not int or not minimum <= value <= MAX_WHOLE_NUMBER:
        raise BadValue(f"{name} is not a whole number of at least {minimum}")
    return value


def read_price(document: dict[str, Any], name: str) -> Decimal | None:
    """Read a price of at least zero, a string with at most 17 digits before the point and 8 after it; null is None."""
    value = document.get(name)
    if value is None:
        return None
    if type(value) is not str or not PRICE.fullmatch(value):
        raise BadValue(f"{name} is not a decimal number in a string")
    return Decimal(value)


def read_positive_price(document: dict[str, Any], name: str) -> Decimal | None:
    """Read a price above zero; null is None."""
    price = read_price(document, name)
    if price is not None and price <= 0:
        raise BadValue(f"{name} is not above 0")
    return price


def read_average_price(document: dict[str, Any], filled_quantity: int) -> Decimal | None:
    """Read `average_price` (FIX tag 6 AvgPx): above zero, or None while nothing is filled, where FIX uses 0."""
    if not filled_quantity:
        read_price(document, "average_price")
        return None
    average_price = read_positive_price(document, "average_price")
    if average_price is None:
        raise BadValue("average_price is missing though something was filled")
    return average_price


def read_moment(document: dict[str, Any], name: str) -> datetime:
    """Read a point in time with its offset (RFC 3339), and return it in UTC."""
    value = document.get(name)
    if type(value) is not str:
        raise BadValue(f"{name} is not a string")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise BadValue(f"{name} has no offset from UTC")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadValue(f"{name} is not a point in time: {error}") from error


def read_reason(document: dict[str, Any]) -> str | None:
    """Read the exchange's reason, shortened and made printable; None if it gave none. A value of another type raises BadValue."""
    value = document.get("reason")
    if value is None:
        return None
    if type(value) is not str:
        raise BadValue("reason is not a string")
    return printable(value)


def text_of(data: bytes) -> str:
    """Decode any bytes to text that can be stored and shown (PostgreSQL rejects NUL)."""
    return data.decode(errors="replace").replace("\0", "\ufffd")


def printable(text: str) -> str:
    """The beginning of a text, with a space for every character that cannot be shown or stored."""
    shortened = text[:MAX_REASON_LENGTH]
    return shortened if shortened.isprintable() else "".join(c if c.isprintable() else " " for c in shortened)


def rfc3339(moment: datetime) -> str:
    """Format an aware time in UTC with microseconds, as in 2025-03-01T12:00:00.000000Z (RFC 3339)."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
