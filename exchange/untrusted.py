"""Reading what an exchange sent: no value is believed before its type, range and length were checked.

Everything that passes here can be stored as it is: printable text of bounded length (PostgreSQL refuses NUL), whole
numbers that fit into a bigint, plain decimal prices. Everything else raises `BadValue`.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

MAX_IDENTIFIER_LENGTH = 64
MAX_REASON_LENGTH = 500
MAX_WHOLE_NUMBER = 2**63 - 1
# Plain notation only: Decimal itself would also take NaN, Infinity, 1E+400, underscores and the digits of other scripts.
PRICE = re.compile(r"[0-9]{1,17}(\.[0-9]{1,8})?", re.ASCII)


class BadValue(ValueError):
    """A value from the exchange is missing, or has another type, range or length than the protocol gives it."""


def load_object(text: bytes | str) -> dict[str, Any]:
    """Parse one JSON object; anything else, also a list or a number, raises BadValue."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadValue(f"not JSON: {error}") from error
    if type(document) is not dict:
        raise BadValue("not a JSON object")
    return document


def read_identifier(document: dict[str, Any], name: str, max_length: int = MAX_IDENTIFIER_LENGTH) -> str:
    """A non-empty printable string."""
    value = document.get(name)
    if type(value) is not str or not value or len(value) > max_length or not value.isprintable():
        raise BadValue(f"{name} is not a string of 1 to {max_length} printable characters")
    return value


def read_whole_number(document: dict[str, Any], name: str, minimum: int = 0) -> int:
    """An integer from `minimum` to 2**63 - 1; true and 1.0 are none."""
    value = document.get(name)
    if type(value) is not int or not minimum <= value <= MAX_WHOLE_NUMBER:
        raise BadValue(f"{name} is not a whole number of at least {minimum}")
    return value


def read_price(document: dict[str, Any], name: str) -> Decimal | None:
    """A price of at least zero, written as a string with at most 17 digits before and 8 after the point; null is None."""
    value = document.get(name)
    if value is None:
        return None
    if type(value) is not str or not PRICE.fullmatch(value):
        raise BadValue(f"{name} is not a decimal number in a string")
    return Decimal(value)


def read_positive_price(document: dict[str, Any], name: str) -> Decimal | None:
    """A price above zero; null is None."""
    price = read_price(document, name)
    if price is not None and price <= 0:
        raise BadValue(f"{name} is not above 0")
    return price


def read_average_price(document: dict[str, Any], filled_quantity: int) -> Decimal | None:
    """The field `average_price` (FIX tag 6 AvgPx): above zero, or None while nothing is filled, when FIX has 0 for it."""
    if not filled_quantity:
        read_price(document, "average_price")
        return None
    average_price = read_positive_price(document, "average_price")
    if average_price is None:
        raise BadValue("average_price is missing though something was filled")
    return average_price


def read_moment(document: dict[str, Any], name: str) -> datetime:
    """A point in time with its offset (RFC 3339), returned in UTC."""
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
    """The exchange's own words, shortened and made printable; None when it gave none. Anything but a string raises BadValue."""
    value = document.get("reason")
    if value is None:
        return None
    if type(value) is not str:
        raise BadValue("reason is not a string")
    return printable(value)


def text_of(data: bytes) -> str:
    """As text that can be stored and shown, whatever it holds (PostgreSQL refuses NUL)."""
    return data.decode(errors="replace").replace("\0", "\ufffd")


def printable(text: str) -> str:
    """The beginning of a text with every character that cannot be shown or stored replaced by a space."""
    shortened = text[:MAX_REASON_LENGTH]
    return shortened if shortened.isprintable() else "".join(c if c.isprintable() else " " for c in shortened)


def rfc3339(moment: datetime) -> str:
    """An aware time in UTC with microseconds, as in 2025-03-01T12:00:00.000000Z (RFC 3339)."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
