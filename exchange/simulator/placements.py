"""Reads a placement that arrives at the simulated exchange."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from exchange import untrusted
from exchange.reports import MAX_ACCOUNT_LENGTH
from exchange.untrusted import BadValue

LIMIT_PRICE = re.compile(r"[0-9]{1,17}(\.[0-9]{1,2})?", re.ASCII)


class Terms(NamedTuple):
    """What a repeat of the same id must have in common. Prices are whole cents here, so that no sum is ever rounded."""

    account: str
    type: str
    side: str
    instrument: str
    limit_cents: int | None
    quantity: int


@dataclass(frozen=True, slots=True)
class ReceivedPlacement:
    """One placement; it must not be taken after `valid_until` (aware UTC)."""

    client_order_id: str
    terms: Terms
    valid_until: datetime


def read_placement(body: bytes) -> ReceivedPlacement:
    """Read a POST body. Raises BadValue, whose text says what is wrong."""
    document = untrusted.load_object(body)
    order_type = _read_choice(document, "type", ("market", "limit"))
    instrument = untrusted.read_identifier(document, "instrument", 12)
    if len(instrument) != 12:
        raise BadValue("instrument is not a string of exactly 12 characters")
    terms = Terms(
        untrusted.read_identifier(document, "account", MAX_ACCOUNT_LENGTH),
        order_type,
        _read_choice(document, "side", ("buy", "sell")),
        instrument,
        _read_limit(document, order_type),
        untrusted.read_whole_number(document, "quantity", minimum=1),
    )
    return ReceivedPlacement(
        untrusted.read_identifier(document, "client_order_id"), terms, untrusted.read_moment(document, "valid_until")
    )


def price_text(cents: int) -> str:
    """Whole cents as a decimal string with two places."""
    return f"{cents // 100}.{cents % 100:02d}"


def _read_choice(document: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = document.get(name)
    if type(value) is not str or value not in choices:
        raise BadValue(f"{name} is not one of " + ", ".join(choices))
    return value


def _read_limit(document: dict[str, Any], order_type: str) -> int | None:
    value = document.get("limit_price")
    if order_type == "market":
        if value is not None:
            raise BadValue("limit_price must be null in a market order")
        return None
    if type(value) is not str or not LIMIT_PRICE.fullmatch(value):
        raise BadValue("limit_price is not a decimal number with at most two places in a string")
    whole, _, places = value.partition(".")
    cents = int(whole) * 100 + int(places.ljust(2, "0") or 0)
    if not cents:
        raise BadValue("limit_price is not above 0")
    return cents
