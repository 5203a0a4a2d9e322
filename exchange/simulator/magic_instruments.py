"""Instruments with the same outcome every time, like the test card numbers of payment providers.

`server` answers their placements, and `market` fills them, except for REFUSE, which never gets there.
"""

# Refused for good.
REFUSE = "REFUSE______"
# The exchange is unavailable each time.
OFFLINE = "OFFLINE_____"
# Taken, but the placement gets no answer.
TIMEOUT = "TIMEOUT_____"
# Only a part is ever filled.
PARTIAL = "PARTIAL_____"
NEVERFILL = "NEVERFILL___"
MAGIC_INSTRUMENTS = frozenset({REFUSE, OFFLINE, TIMEOUT, PARTIAL, NEVERFILL})
