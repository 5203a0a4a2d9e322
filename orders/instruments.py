"""The canonical spelling of an instrument, upper case, which halts, last prices and limits use."""

import re

from django.db.models import Q
from django.db.models.functions import Collate, Upper
from django.db.models.lookups import Exact

# An ISIN (ISO 6166) has 12 characters; a venue's own symbol such as AAPL_2025_03 is fine too.
INSTRUMENT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{11}$"
PATTERN = re.compile(INSTRUMENT_PATTERN)
# `canonical_instrument` in SQL. With collation C, because a Turkish one turns i into another letter.
CANONICAL_INSTRUMENT = Upper(Collate("instrument", "C"))


def canonical_instrument(text: str) -> str:
    """The instrument in upper case. Raises ValueError if `text` is not an instrument."""
    # Check before converting, because some other letters become ASCII in upper case: the dotless i becomes I, the long s S.
    if PATTERN.fullmatch(text) is None:
        raise ValueError("not an instrument")
    return text.upper()


def in_instrument(instrument: str) -> Q:
    """Condition for the rows of an instrument in any spelling; `instrument` is in upper case. It cannot use an index."""
    return Q(Exact(CANONICAL_INSTRUMENT, instrument))


def spellings(instrument: str) -> list[str]:
    """The spellings under which the index finds an instrument's orders. Raises ValueError if it is not an instrument.

    Orders that were sent when lower case was still accepted keep the spelling that the exchange knows. Mixed case is found
    only if it is given exactly.
    """
    return [canonical_instrument(instrument), instrument.lower(), instrument]
