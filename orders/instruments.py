"""The spelling of an instrument. Clients may send any letter case; upper case is stored, sent and compared."""

import re

# An ISIN (ISO 6166) has 12 characters; a venue's own symbol such as AAPL_2025_03 is fine too.
INSTRUMENT_PATTERN = r"^[A-Z0-9][A-Z0-9._-]{11}$"
# What clients may send.
ANY_CASE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{11}$"
ANY_CASE = re.compile(ANY_CASE_PATTERN)


def canonical_instrument(text: str) -> str:
    """The instrument in upper case. Raises ValueError if `text` is not an instrument."""
    # Check before converting, because some other letters become ASCII in upper case: the dotless i becomes I, the long s S.
    if ANY_CASE.fullmatch(text) is None:
        raise ValueError("not an instrument")
    return text.upper()
