"""Order ids are UUIDv7 (RFC 9562, section 5.7): a range of times is a range of the primary key, and needs no index of its own."""

import uuid
from datetime import UTC, datetime

MILLISECONDS_SHIFT = 80


def first_id_at(moment: datetime) -> uuid.UUID:
    """An id that is not after that of any order made at `moment` or later, and after those made in a millisecond before."""
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(int=max(milliseconds, 0) << MILLISECONDS_SHIFT)


def made_at(id: uuid.UUID) -> datetime:
    """When an id was made, which is when its order was accepted, to the millisecond."""
    return datetime.fromtimestamp((id.int >> MILLISECONDS_SHIFT) / 1000, UTC)
