"""The live stream from PostgreSQL: one reader of the database for all connections of this process."""

import asyncio
from contextlib import suppress

import structlog

from infrastructure.database.unavailable import one_line
from notifications.audience import Audience
from notifications.closings import FELL_BEHIND
from notifications.database import DatabaseThreads, ReadsUnavailable
from orders.events.notify import ORDER_EVENTS, listen
from orders.events.stream import (
    EVENTS_PER_PAGE,
    EncodedEvent,
    EventsFound,
    Snapshot,
    StreamPosition,
    current_snapshot,
    encoded_events,
    events_after,
)

log = structlog.get_logger()

# Notifications can fail, so the database is also read this often.
POLL_S = 0.25
# Each process notifies up to 100 times a second; events that come close together share one read.
READ_INTERVAL_S = 0.02
DATABASE_RETRY_S = 0.5


class LiveStream:
    """Reads new events and offers them to every connection that may see them.

    Without connections it reads nothing. A connection joins between two reads, at the snapshot of the last one: it is
    offered exactly the events that this snapshot did not see.
    """

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._database = DatabaseThreads(1, "live-events")
        self._snapshot: Snapshot | None = None
        self._is_database_unavailable = False

    async def run(self) -> None:
        """Read until cancelled. Nothing is missed, however long the database is unavailable."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            while True:
                await self._wait_for_news()
                await self._read()
                await asyncio.sleep(READ_INTERVAL_S)

    async def close(self) -> None:
        await self._database.close()

    async def _listen(self) -> None:
        async for _ in listen(ORDER_EVENTS):
            self._audience.changed.set()

    async def _wait_for_news(self) -> None:
        """Wait for a notification or the next poll; without connections, until one wants to join."""
        while True:
            is_watched = not self._audience.is_empty
            if not is_watched:
                self._snapshot = None
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S if is_watched else None):
                    await self._audience.changed.wait()
            self._audience.changed.clear()
            if is_watched or self._audience.is_awaited:
                return

    async def _read(self) -> None:
        """Admit waiting connections, and offer new events to those that joined before."""
        try:
            if self._snapshot is None:
                found = EventsFound(await self._database.run(current_snapshot), [], is_too_much=False)
            else:
                found = await self._database.run(events_after, StreamPosition(self._snapshot), self._audience.accounts)
        except ReadsUnavailable as error:
            self._audience.changed.set()
            await self._wait_for_database(error)
            return
        if self._is_database_unavailable:
            self._is_database_unavailable = False
            log.info("database_back", doing="live events", events=len(found.ids))
        self._audience.admit(found.snapshot)
        if found.is_too_much:
            log.warning("fell_behind", events=len(found.ids))
            for connection in self._audience.members():
                connection.end(FELL_BEHIND)
        else:
            await self._offer_all(found)
        self._snapshot = found.snapshot
        self._audience.activate()

    async def _offer_all(self, found: EventsFound) -> None:
        for start in range(0, len(found.ids), EVENTS_PER_PAGE):
            for event in await self._messages(found.ids[start : start + EVENTS_PER_PAGE]):
                for connection, _joined_at in self._audience.recipients(event.account_id):
                    connection.offer(event.text)
            await self._audience.apply_backpressure()
            # Connections that wait to join need not wait for the remaining pages.
            self._audience.admit(found.snapshot)

    async def _messages(self, ids: list[int]) -> list[EncodedEvent]:
        while True:
            try:
                return await self._database.run(encoded_events, ids)
            except ReadsUnavailable as error:
                await self._wait_for_database(error)

    async def _wait_for_database(self, error: ReadsUnavailable) -> None:
        if not self._is_database_unavailable:
            self._is_database_unavailable = True
            log.warning("database_unavailable", doing="live events", error=one_line(error))
        await asyncio.sleep(DATABASE_RETRY_S)
