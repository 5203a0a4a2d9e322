"""Decides where a client resumes: sends all events since the one that it saw last, then has it join the live stream."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from notifications.closings import NO_SUCH_EVENT, RESUME_TOO_FAR, ConnectionRefused
from notifications.connection import Connection
from notifications.database import ReadsUnavailable
from notifications.identity import Identity
from notifications.service import Service
from orders.events.stream import (
    EVENTS_PER_PAGE,
    FROM_THE_BEGINNING,
    Snapshot,
    StreamPosition,
    encoded_events,
    events_after,
    last_event_id,
    position_after,
)

T = TypeVar("T")

# In `after`, in place of an event id: all events of the account.
BEGINNING = "beginning"
# The live stream admits a connection within milliseconds, unless the database is unavailable.
JOIN_S = 5.0


class Resumption:
    """Brings one new connection to the live stream, from the last event that its client saw or from now.

    All methods raise ConnectionRefused, ReadsUnavailable and ClientGone.
    """

    def __init__(self, service: Service, connection: Connection, identity: Identity) -> None:
        self.service = service
        self.connection = connection
        self.identity = identity

    async def begin(self, after: str | None) -> None:
        """Begin after the event `after`, or now. Returns when the client gets live events."""
        if after is not None:
            await self.catch_up(after)
            return
        snapshot = await self.join()
        last = await self.service.database.run(last_event_id, snapshot, self.identity.account_seen)
        await self.connection.send_text(self.identity.hello(last or BEGINNING))

    async def catch_up(self, after: str) -> None:
        """Send all events since `after`, then join the live stream at that point."""
        position: StreamPosition | None = FROM_THE_BEGINNING
        if after != BEGINNING:
            position = await self.service.database.run(position_after, after, self.identity.account_seen)
        if position is None:
            raise ConnectionRefused(NO_SUCH_EVENT)
        await self.connection.send_text(self.identity.hello(after))
        accounts = None if self.identity.account_seen is None else [self.identity.account_seen]
        # Join only when little is left, since live events wait in memory from then on.
        while True:
            found = await self.read(events_after, position, accounts)
            if found.is_too_much:
                raise ConnectionRefused(RESUME_TOO_FAR)
            await self.send_events(found.ids)
            position = StreamPosition(found.snapshot)
            if len(found.ids) < EVENTS_PER_PAGE:
                break
        snapshot = await self.join()
        found = await self.read(events_after, position, accounts, snapshot)
        await self.send_events(found.ids)

    async def send_events(self, ids: list[int]) -> None:
        for start in range(0, len(ids), EVENTS_PER_PAGE):
            for event in await self.read(encoded_events, ids[start : start + EVENTS_PER_PAGE]):
                await self.connection.send_text(event.text)

    async def read(self, work: Callable[..., T], *args: object) -> T:
        """Read a part of the history when it is the account's turn."""
        return await self.service.resumes.run(self.identity.account_id, work, *args)

    async def join(self) -> Snapshot:
        try:
            async with asyncio.timeout(JOIN_S):
                return await self.service.audience.join(self.connection)
        except TimeoutError:
            raise ReadsUnavailable("the live stream is stalled") from None
