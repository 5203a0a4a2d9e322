"""One client's connection: what waits to be sent to it, and how it ends."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from notifications.closings import TOO_SLOW, CloseReason
from notifications.handshake import Credentials
from notifications.metrics import connections_ended, messages_sent

if TYPE_CHECKING:
    from notifications.identity import Identity

log = structlog.get_logger()
Message = dict[str, Any]

# What may wait for one client. A text that waits for many is in memory once, but counts for each of them.
MAX_WAITING_BYTES = 4 * 1024 * 1024
TEXT_OVERHEAD_BYTES = 100
# A client that takes nothing at all for this long is cut off.
STALL_S = 10.0
# After so much time without progress nobody waits for a client any more.
SHORT_STALL_S = 2.0
# How long the close frame may take; a client that does not read never gets it.
CLOSE_S = 2.0

# How ASGI servers say that the transport is gone: granian with the first, others with the second.
CLIENT_GONE = (RuntimeError, OSError)
# What the application is told then (RFC 6455, section 7.1.5).
GONE: Message = {"type": "websocket.disconnect", "code": 1006}


class ClientGone(Exception):
    """Nothing can be sent any more."""


class Connection:
    """Lies between the consumer and the server, so that a connection can be ended from anywhere and at any time.

    The server (granian 2.8) does not send a close frame while somebody waits for a frame of the client, which Channels
    always does. So `receive` gives up waiting when the connection is to end, sends the close frame, and tells the
    consumer that the client is gone.
    """

    def __init__(self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self._waiting: deque[str] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._closing: CloseReason | None = None
        self._sending_since: float | None = None
        # Set by the consumer, once they are known.
        self.serving: asyncio.Task[None] | None = None
        self.credentials = Credentials()
        self.identity: Identity | None = None

    def offer(self, text: str) -> None:
        """Let `text` be sent after everything that waits already; a client for which too much waits is cut off."""
        if self._ended.is_set():
            return
        self._waiting.append(text)
        self._waiting_bytes += len(text) + TEXT_OVERHEAD_BYTES
        self._changed.set()
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._cut_off("too much waits for it")

    @property
    def is_worth_waiting_for(self) -> bool:
        """Whether much waits for a client that is taking it, so that a pause would help."""
        if self._waiting_bytes < MAX_WAITING_BYTES // 2:
            return False
        return self._sending_since is None or monotonic() - self._sending_since < SHORT_STALL_S

    def end(self, closing: CloseReason) -> None:
        """Drop what waits and close the connection; only the first call counts."""
        if self._ended.is_set():
            return
        self._closing = closing
        connections_ended.labels(closing.code).inc()
        self._ended.set()
        self._waiting.clear()
        self._waiting_bytes = 0
        if self.serving is not None:
            self.serving.cancel()

    def _cut_off(self, why: str) -> None:
        log.warning("client_cut_off", account=self.identity and self.identity.account, why=why)
        self.end(TOO_SLOW)

    async def send(self, message: Message) -> None:
        """For the consumer. When the client is gone, `receive` says so."""
        try:
            await self._send(message)
        except CLIENT_GONE:
            self._ended.set()

    async def send_text(self, text: str) -> None:
        """Send one message now; returns when the network has taken it. Raises ClientGone."""
        self._sending_since = monotonic()
        try:
            async with asyncio.timeout(STALL_S):
                await self._send({"type": "websocket.send", "text": text})
            messages_sent.inc()
        except TimeoutError:
            self._cut_off("it takes nothing")
            # `end` has cancelled the task that we run in.
            await asyncio.sleep(0)
        except CLIENT_GONE as error:
            self._ended.set()
            raise ClientGone from error
        finally:
            self._sending_since = None

    async def send_waiting(self) -> None:
        """Send whatever is offered, until cancelled. Raises ClientGone."""
        while True:
            while self._waiting:
                text = self._waiting.popleft()
                self._waiting_bytes -= len(text) + TEXT_OVERHEAD_BYTES
                await self.send_text(text)
            self._changed.clear()
            await self._changed.wait()

    async def receive(self) -> Message:
        """For the consumer: the client's next frame, or that the connection is over."""
        receiving = asyncio.ensure_future(self._receive_frame())
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            receiving.cancel()
            await asyncio.wait({receiving})
        if self._closing is not None:
            await self._close(self._closing)
            return {"type": "websocket.disconnect", "code": self._closing.code}
        if receiving.cancelled():
            return GONE
        return receiving.result()

    async def _receive_frame(self) -> Message:
        try:
            return await self._receive()
        except CLIENT_GONE:
            return GONE

    async def _close(self, closing: CloseReason) -> None:
        if self.serving is not None:
            # It may be in the middle of a send.
            await asyncio.wait({self.serving})
        # When there is no time left, or no client, the server drops the connection as soon as we return.
        with suppress(TimeoutError, *CLIENT_GONE):
            async with asyncio.timeout(CLOSE_S):
                await self._send({"type": "websocket.close", "code": closing.code, "reason": closing.reason})
