"""The one spelling of an instrument, by which halts, last prices and limits know it: in upper case."""

import re

from django.db.models import Q
from django.db.models.functions import Collate, Upper
from django.db.models.lookups import Exact

# An ISIN (ISO 6166) has 12 characters; a venue's own symbol such as AAPL_2025_03 is fine too.
INSTRUMENT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{11}$"
PATTERN = re.compile(INSTRUMENT_PATTERN)
# `canonical_instrument` in SQL. By the collation C, since a Turkish one makes another letter of an i.
CANONICAL_INSTRUMENT = Upper(Collate("instrument", "C"))


def canonical_instrument(text: str) -> str:
    """The instrument in upper case. Raises ValueError for what is no instrument."""
    # Looked at first, since some other letters become ASCII in upper case: the dotless i becomes I, the long s becomes S.
    if PATTERN.fullmatch(text) is None:
        raise ValueError("not an instrument")
    return text.upper()


def in_instrument(instrument: str) -> Q:
    """Rows of an instrument, named in upper case, in whatever spelling they have. No index finds them."""
    return Q(Exact(CANONICAL_INSTRUMENT, instrument))


def spellings(instrument: str) -> list[str]:
    """In which an index finds orders of the instrument. Raises ValueError for what is no instrument.

    Orders that were sent while lower case was taken keep the spelling that the exchange knows; mixed case is found as given.
    """
    return [canonical_instrument(instrument), instrument.lower(), instrument]
