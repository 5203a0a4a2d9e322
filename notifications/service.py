"""The notification service: its connections, and the work that concerns all of them."""

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import orjson
import structlog
from django.conf import settings

from infrastructure.database.unavailable import one_line
from notifications.audience import Audience
from notifications.closings import (
    PERMISSIONS_CHANGED,
    STOPPING,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_OF_ACCOUNT,
    ConnectionRefused,
)
from notifications.connection import Connection
from notifications.database import DatabaseThreads, ReadsUnavailable
from notifications.handshake import Credentials
from notifications.identity import Identity, identify, identify_newcomer
from notifications.live import LiveStream
from notifications.metrics import clients
from notifications.resume_reads import ResumeReads
from orders.transport import transport

log = structlog.get_logger()

# Over all accounts: each connection needs a socket and some memory.
MAX_CONNECTIONS = 2000
# How long clients may take to receive their close frames when the service stops.
STOP_S = 3.0


class Stream(Protocol):
    """Delivers events to an audience."""

    async def run(self) -> None:
        """Deliver events until cancelled."""

    async def close(self) -> None: ...


def new_stream(audience: Audience) -> Stream:
    """The stream for the transport in ORDER_TRANSPORT."""
    if not transport().uses_kafka:
        return LiveStream(audience)
    from notifications.topic import TopicStream  # noqa: PLC0415 - librdkafka is loaded only where it is used

    return TopicStream(audience)


class Service:
    """The connections of this process and the live stream that they share."""

    def __init__(self) -> None:
        self.audience = Audience()
        self.live = new_stream(self.audience)
        # For short work for single clients; long reads use `resumes`.
        self.database = DatabaseThreads(4, "clients")
        self.resumes = ResumeReads()
        self.failed = asyncio.Event()
        self._connections: set[Connection] = set()
        self._emptied = asyncio.Event()
        self._of_account: Counter[int] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False

    def start(self) -> None:
        """Start reading events. Call it while the event loop runs."""
        for work in (self.live.run(), self._beat_forever(), self._check_forever()):
            task = asyncio.create_task(work)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Close every connection and stop reading. A second call does nothing."""
        if self._is_stopping:
            return
        self._is_stopping = True
        for connection in self._connections:
            connection.end(STOPPING)
        self._emptied.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S if self._connections else 0):
                await self._emptied.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.live.close()
        await self.resumes.close()
        await self.database.close()

    def enter(self, connection: Connection) -> None:
        """Count a new connection. Raises ConnectionRefused; `leave` must be called in any case."""
        self._connections.add(connection)
        clients.set(len(self._connections))
        if self._is_stopping:
            raise ConnectionRefused(STOPPING)
        if len(self._connections) > MAX_CONNECTIONS:
            raise ConnectionRefused(TOO_MANY_CONNECTIONS)

    async def recognise(self, connection: Connection, credentials: Credentials, address: str) -> Identity:
        """Identify the client of a connection. Raises ConnectionRefused, ReadsUnavailable."""
        identity = await self.database.run(identify_newcomer, credentials, address)
        connection.credentials, connection.identity = credentials, identity
        self._of_account[identity.account_id] += 1
        if self._of_account[identity.account_id] > settings.NOTIFICATIONS_CONNECTIONS_PER_ACCOUNT:
            raise ConnectionRefused(TOO_MANY_OF_ACCOUNT)
        return identity

    def leave(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(connection)
        clients.set(len(self._connections))
        if not self._connections:
            self._emptied.set()
        self.audience.leave(connection)
        if connection.identity is not None:
            account_id = connection.identity.account_id
            self._of_account[account_id] -= 1
            if not self._of_account[account_id]:
                del self._of_account[account_id]

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(settings.NOTIFICATIONS_HEARTBEAT)
            text = orjson.dumps({"type": "heartbeat", "at": datetime.now(UTC)}, option=orjson.OPT_UTC_Z).decode()
            for connection in self._connections:
                if connection.identity is not None:
                    connection.offer(text)

    async def _check_forever(self) -> None:
        """Close connections that are no longer allowed: tokens are revoked, sessions end, accounts and permissions change."""
        while True:
            await asyncio.sleep(2 * settings.NOTIFICATIONS_HEARTBEAT)
            connections_of = defaultdict(list)
            for connection in self._connections:
                if connection.identity is not None:
                    connections_of[connection.credentials].append(connection)
            try:
                for credentials, connections in connections_of.items():
                    await self._check(credentials, connections)
            except ReadsUnavailable as error:
                log.warning("database_unavailable", doing="check credentials", error=one_line(error))

    async def _check(self, credentials: Credentials, connections: list[Connection]) -> None:
        try:
            identity = await self.database.run(identify, credentials)
        except ConnectionRefused as refused:
            for connection in connections:
                connection.end(refused.closing)
            return
        for connection in connections:
            if connection.identity != identity:
                connection.end(PERMISSIONS_CHANGED)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("notification_service_failed", exc_info=error)
            self.failed.set()
