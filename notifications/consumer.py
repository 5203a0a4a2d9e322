"""Serves one client of the WebSocket /ws/orders, from its handshake to its end."""

import asyncio
from typing import Any

import orjson
import structlog
from channels.generic.websocket import AsyncWebsocketConsumer

from infrastructure.database.unavailable import one_line
from infrastructure.logs import request_id
from notifications.closings import (
    DATABASE_UNAVAILABLE,
    FRAME_NOT_UNDERSTOOD,
    FRAME_TOO_LARGE,
    INTERNAL_ERROR,
    NO_SUCH_ADDRESS,
    ConnectionRefused,
)
from notifications.connection import ClientGone, Connection
from notifications.database import ReadsUnavailable
from notifications.handshake import answered_subprotocol, check_origin, read_address, read_after, read_credentials
from notifications.resuming import Resumption
from notifications.service import Service

log = structlog.get_logger()
MAX_FRAME_BYTES = 1024
PONG = '{"type":"pong"}'


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
        identity = await self.service.recognise(self.connection, read_credentials(self.scope), read_address(self.scope))
        await Resumption(self.service, self.connection, identity).begin(after)
        await self.connection.send_waiting()


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
