"""Order ids are UUIDv7 (RFC 9562, section 5.7), so a range of times is a range of the primary key and needs no other index."""

import uuid
from datetime import UTC, datetime

MILLISECONDS_SHIFT = 80


def first_id_at(moment: datetime) -> uuid.UUID:
    """A lower bound for the ids of orders made in the millisecond of `moment` or later. All earlier ids are below it."""
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(int=max(milliseconds, 0) << MILLISECONDS_SHIFT)


def made_at(id: uuid.UUID) -> datetime:
    """When the id was made and so its order accepted, to the millisecond."""
    return datetime.fromtimestamp((id.int >> MILLISECONDS_SHIFT) / 1000, UTC)
