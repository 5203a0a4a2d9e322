"""Serves one client of the WebSocket /ws/orders, from its handshake to its end."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from infrastructure.database.unavailable import one_line
from infrastructure.logs import request_id
from notifications.closings import (
    DATABASE_UNAVAILABLE,
    FRAME_NOT_UNDERSTOOD,
    FRAME_TOO_LARGE,
    INTERNAL_ERROR,
    NO_SUCH_ADDRESS,
    NO_SUCH_EVENT,
    RESUME_TOO_FAR,
    ConnectionRefused,
)
from notifications.connection import ClientGone, Connection
from notifications.database import ReadsUnavailable
from notifications.handshake import answered_subprotocol, check_origin, read_address, read_after, read_credentials
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

log = structlog.get_logger()
T = TypeVar("T")

MAX_FRAME_BYTES = 1024
# In `after`, in place of an event id: all events of the account.
BEGINNING = "beginning"
PONG = '{"type":"pong"}'
# The live stream admits a connection within milliseconds, unless the database is unavailable.
JOIN_S = 5.0


class OrdersConsumer(AsyncWebsocketConsumer):
    """Accepts every handshake, then either serves the client or closes with a code and reason that it can read."""

    connection: Connection

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.connection = Connection(receive, send)
        given = dict(scope.get("headers", ())).get(b"x-request-id")
        structlog.contextvars.bind_contextvars(request_id=request_id(given and given.decode("latin-1")))
        try:
            await super().__call__(scope, self.connection.receive, self.connection.send)
        finally:
            if self.connection.serving is not None:
                self.connection.serving.cancel()
            self.service.leave(self.connection)

    async def connect(self) -> None:
        await self.accept(answered_subprotocol(self.scope))
        # In a task, since Channels reads no frames from the client until this method returns.
        self.connection.serving = asyncio.create_task(self._serve())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        frame = bytes_data if text_data is None else text_data.encode()
        if frame is None or len(frame) > MAX_FRAME_BYTES:
            self.connection.end(FRAME_TOO_LARGE)
        elif text_data is not None and _is_ping(text_data):
            self.connection.offer(PONG)
        else:
            self.connection.end(FRAME_NOT_UNDERSTOOD)

    async def _serve(self) -> None:
        try:
            await self._identify_and_send()
        except ConnectionRefused as refused:
            self.connection.end(refused.closing)
        except ReadsUnavailable as error:
            log.warning("database_unavailable", doing="serve client", error=one_line(error))
            self.connection.end(DATABASE_UNAVAILABLE)
        except ClientGone:
            pass
        except Exception:
            # Nothing awaits this task, so it must report its own errors.
            log.exception("client_not_served")
            self.connection.end(INTERNAL_ERROR)

    async def _identify_and_send(self) -> None:
        self.service.enter(self.connection)
        check_origin(self.scope)
        after = read_after(self.scope)
        await self.service.recognise(self.connection, read_credentials(self.scope), read_address(self.scope))
        if after is None:
            snapshot = await self._join()
            last = await self.service.database.run(last_event_id, snapshot, self._account_id)
            await self.connection.send_text(self._hello(last or BEGINNING))
        else:
            await self._catch_up(after)
        await self.connection.send_waiting()

    async def _catch_up(self, after: str) -> None:
        """Send all events since `after`, then join the live stream at that point."""
        position: StreamPosition | None = FROM_THE_BEGINNING
        if after != BEGINNING:
            position = await self.service.database.run(position_after, after, self._account_id)
        if position is None:
            raise ConnectionRefused(NO_SUCH_EVENT)
        await self.connection.send_text(self._hello(after))
        accounts = None if self._account_id is None else [self._account_id]
        # Join only when little is left, since live events wait in memory from then on.
        while True:
            found = await self._read(events_after, position, accounts)
            if found.is_too_much:
                raise ConnectionRefused(RESUME_TOO_FAR)
            await self._send_events(found.ids)
            position = StreamPosition(found.snapshot)
            if len(found.ids) < EVENTS_PER_PAGE:
                break
        snapshot = await self._join()
        found = await self._read(events_after, position, accounts, snapshot)
        await self._send_events(found.ids)

    async def _send_events(self, ids: list[int]) -> None:
        for start in range(0, len(ids), EVENTS_PER_PAGE):
            for event in await self._read(encoded_events, ids[start : start + EVENTS_PER_PAGE]):
                await self.connection.send_text(event.text)

    async def _read(self, work: Callable[..., T], *args: object) -> T:
        """Read a part of the history when it is the account's turn."""
        assert self.connection.identity is not None
        return await self.service.resumes.run(self.connection.identity.account_id, work, *args)

    async def _join(self) -> Snapshot:
        try:
            async with asyncio.timeout(JOIN_S):
                return await self.service.audience.join(self.connection)
        except TimeoutError:
            raise ReadsUnavailable("the live stream is stalled") from None

    @property
    def _account_id(self) -> int | None:
        """The account whose events the client sees; None for all accounts."""
        identity = self.connection.identity
        assert identity is not None
        return None if identity.sees_all else identity.account_id

    def _hello(self, after: str) -> str:
        """The first message. Its `after` is for reconnecting if the connection ends before the first event."""
        identity = self.connection.identity
        assert identity is not None
        hello = {
            "type": "hello",
            "account": identity.account,
            "sees_all": identity.sees_all,
            "after": after,
            "heartbeat_s": settings.NOTIFICATIONS_HEARTBEAT,
        }
        return orjson.dumps(hello).decode()


class NothingHere(AsyncWebsocketConsumer):
    """Refuses all other addresses."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.connection = Connection(receive, send)
        await super().__call__(scope, self.connection.receive, self.connection.send)

    async def connect(self) -> None:
        await self.accept()
        self.connection.end(NO_SUCH_ADDRESS)


def _is_ping(text: str) -> bool:
    try:
        return bool(orjson.loads(text) == {"type": "ping"})
    except orjson.JSONDecodeError:
        return False
