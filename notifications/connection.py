"""One client's connection: its queue of messages, and how it ends."""

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

# How much may wait for one client. A text for many clients is in memory once, but counts for each of them.
MAX_WAITING_BYTES = 4 * 1024 * 1024
TEXT_OVERHEAD_BYTES = 100
# A client that accepts no data for this long is cut off.
STALL_S = 10.0
# The stream no longer waits for a client that made no progress for this long.
SHORT_STALL_S = 2.0
# How long the close frame may take; a client that does not read never gets it.
CLOSE_S = 2.0

# What ASGI servers raise when the transport is gone: granian the first, others the second.
CLIENT_GONE = (RuntimeError, OSError)
# The message for the application in this case (RFC 6455, section 7.1.5).
GONE: Message = {"type": "websocket.disconnect", "code": 1006}


class ClientGone(Exception):
    """Nothing can be sent any more."""


class Connection:
    """Sits between the consumer and the server, so that any code can end a connection at any time.

    The server (granian 2.8) sends no close frame while the application waits for a frame from the client, which Channels
    always does. So when the connection is to end, `receive` stops waiting, sends the close frame, and tells the consumer
    that the client is gone.
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
        # Set once they are known.
        self.serving: asyncio.Task[None] | None = None
        self.credentials = Credentials()
        self.identity: Identity | None = None

    def offer(self, text: str) -> None:
        """Queue `text` for sending; a client whose queue grows too long is cut off."""
        if self._ended.is_set():
            return
        self._waiting.append(text)
        self._waiting_bytes += len(text) + TEXT_OVERHEAD_BYTES
        self._changed.set()
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._cut_off("its queue is full")

    @property
    def is_worth_waiting_for(self) -> bool:
        """Whether the queue is long but moving, so that a pause would help the client."""
        if self._waiting_bytes < MAX_WAITING_BYTES // 2:
            return False
        return self._sending_since is None or monotonic() - self._sending_since < SHORT_STALL_S

    def end(self, closing: CloseReason) -> None:
        """Drop the queue and close the connection; only the first call counts."""
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
        """Send a message of the consumer. If the client is gone, the next `receive` says so."""
        try:
            await self._send(message)
        except CLIENT_GONE:
            self._ended.set()

    async def send_text(self, text: str) -> None:
        """Send one message now; return when the network has accepted it. Raises ClientGone."""
        self._sending_since = monotonic()
        try:
            async with asyncio.timeout(STALL_S):
                await self._send({"type": "websocket.send", "text": text})
            messages_sent.inc()
        except TimeoutError:
            self._cut_off("it accepts no data")
            # `end` has cancelled the task that runs this.
            await asyncio.sleep(0)
        except CLIENT_GONE as error:
            self._ended.set()
            raise ClientGone from error
        finally:
            self._sending_since = None

    async def send_waiting(self) -> None:
        """Send queued messages until cancelled. Raises ClientGone."""
        while True:
            while self._waiting:
                text = self._waiting.popleft()
                self._waiting_bytes -= len(text) + TEXT_OVERHEAD_BYTES
                await self.send_text(text)
            self._changed.clear()
            await self._changed.wait()

    async def receive(self) -> Message:
        """The client's next frame for the consumer, or a disconnect message when the connection has ended."""
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
            # The task may be in the middle of a send.
            await asyncio.wait({self.serving})
        # If this times out or the client is gone, the server drops the connection when we return.
        with suppress(TimeoutError, *CLIENT_GONE):
            async with asyncio.timeout(CLOSE_S):
                await self._send({"type": "websocket.close", "code": closing.code, "reason": closing.reason})
