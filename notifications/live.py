"""The live stream: one reader of the database for all connections of this process."""

import asyncio
from contextlib import suppress
from itertools import chain
from time import monotonic

import structlog

from notifications.closings import FELL_BEHIND
from notifications.connection import Connection
from notifications.database import DatabaseAway, DatabaseThreads
from orders.doorbell import ORDER_EVENTS, rings
from orders.event_stream import (
    EVENTS_PER_PAGE,
    EncodedEvent,
    Found,
    Position,
    Snapshot,
    current_snapshot,
    encoded_events,
    events_after,
)

log = structlog.get_logger()

# Whoever rings may be unable to; nothing waits longer than this.
POLL_S = 0.25
# Rings come up to 100 times a second from each process; events that come close together share one read.
READ_INTERVAL_S = 0.02
DATABASE_RETRY_S = 0.5
# How long one page of events may wait for clients that are busy with earlier ones.
LONGEST_PAUSE_S = 1.0
PAUSE_POLL_S = 0.005


class LiveStream:
    """Reads what is new and offers it to every connection that may see it.

    While nobody is connected it reads nothing. A connection joins between two reads, at the snapshot of the last one: it
    is offered all that this snapshot did not see, and nothing else.
    """

    def __init__(self) -> None:
        self._database = DatabaseThreads(1, "live-events")
        self._of_account: dict[int, set[Connection]] = {}
        self._of_staff: set[Connection] = set()
        self._joining: dict[Connection, asyncio.Future[Snapshot]] = {}
        # Let in, and from the next read on offered what is new.
        self._admitted: set[Connection] = set()
        self._snapshot: Snapshot | None = None
        self._woken = asyncio.Event()
        self._is_away = False

    async def run(self) -> None:
        """Read until cancelled. However long the database is away, nothing is missed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            while True:
                await self._wait_for_news()
                await self._read()
                await asyncio.sleep(READ_INTERVAL_S)

    async def join(self, connection: Connection) -> Snapshot:
        """Take the connection in; what the returned snapshot saw, it will not be offered. Waits while the database is away."""
        joined: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._joining[connection] = joined
        self._woken.set()
        try:
            return await joined
        finally:
            self._joining.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """Offer it nothing more."""
        self._admitted.discard(connection)
        self._of_staff.discard(connection)
        if connection.identity is not None:
            account_id = connection.identity.account_id
            own = self._of_account.get(account_id, set())
            own.discard(connection)
            if not own:
                self._of_account.pop(account_id, None)

    async def close(self) -> None:
        await self._database.close()

    async def _listen(self) -> None:
        async for _ in rings(ORDER_EVENTS):
            self._woken.set()

    async def _wait_for_news(self) -> None:
        """Until somebody rings, or it is time to look; while nobody is connected, until somebody wants to join."""
        while True:
            is_watched = bool(self._of_account or self._of_staff)
            if not is_watched:
                self._snapshot = None
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S if is_watched else None):
                    await self._woken.wait()
            self._woken.clear()
            if is_watched or self._joining:
                return

    async def _read(self) -> None:
        """Let in those who are waiting, and offer what is new to those who were here before."""
        try:
            if self._snapshot is None:
                found = Found(await self._database.run(current_snapshot), [], is_too_much=False)
            else:
                accounts = None if self._of_staff else list(self._of_account)
                found = await self._database.run(events_after, Position(self._snapshot), accounts)
        except DatabaseAway as error:
            self._woken.set()
            await self._wait_for_database(error)
            return
        if self._is_away:
            self._is_away = False
            log.info("database_back", doing="live events", events=len(found.ids))
        self._admit(found.snapshot)
        if found.is_too_much:
            log.warning("fell_behind", events=len(found.ids))
            for connection in self._receivers():
                connection.end(FELL_BEHIND)
        else:
            await self._offer_all(found)
        self._snapshot = found.snapshot
        for connection in self._admitted:
            self._add(connection)
        self._admitted.clear()

    def _admit(self, snapshot: Snapshot) -> None:
        for connection, joined in self._joining.items():
            if not joined.done():
                joined.set_result(snapshot)
                self._admitted.add(connection)

    def _add(self, connection: Connection) -> None:
        if connection.identity is not None and not connection.identity.sees_all:
            self._of_account.setdefault(connection.identity.account_id, set()).add(connection)
        elif connection.identity is not None:
            self._of_staff.add(connection)

    def _receivers(self) -> list[Connection]:
        return [*self._of_staff, *chain.from_iterable(self._of_account.values())]

    async def _offer_all(self, found: Found) -> None:
        for start in range(0, len(found.ids), EVENTS_PER_PAGE):
            for event in await self._messages(found.ids[start : start + EVENTS_PER_PAGE]):
                for connection in self._of_staff:
                    connection.offer(event.text)
                for connection in self._of_account.get(event.account_id, ()):
                    connection.offer(event.text)
            await self._let_clients_take()
            # Much may be left, and these need none of it.
            self._admit(found.snapshot)

    async def _messages(self, ids: list[int]) -> list[EncodedEvent]:
        while True:
            try:
                return await self._database.run(encoded_events, ids)
            except DatabaseAway as error:
                await self._wait_for_database(error)

    async def _let_clients_take(self) -> None:
        """A burst must not cut off clients that are only waiting for their turn."""
        deadline = monotonic() + LONGEST_PAUSE_S
        # An event would cost more with every message than this costs now and then.
        while monotonic() < deadline and any(c.is_worth_waiting_for for c in self._receivers()):  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_POLL_S)

    async def _wait_for_database(self, error: DatabaseAway) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("database_away", doing="live events", error=str(error))
        await asyncio.sleep(DATABASE_RETRY_S)
