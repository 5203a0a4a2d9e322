"""Follows the execution feed: the client side of the WebSocket /executions."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import aiohttp

from exchange.reports import FeedMessage, Session, parse_frame

# A longer frame ends the connection. A frame of more than reports.MAX_FRAME_BYTES is rejected, but read for its sequence.
MAX_READ_BYTES = 1024 * 1024
# When this much waits for the consumer, reading from the socket pauses and the exchange has to wait.
MAX_WAITING_BYTES = 16 * 1024 * 1024
FRAME_OVERHEAD_BYTES = 100


class FeedDisconnected(Exception):
    """The feed could not be reached, or its connection ended. Reconnect after the last applied sequence."""


class ExecutionFeed:
    """One connection to the feed, as an asynchronous context manager.

        async with ExecutionFeed(url, after=position, session_id=session) as feed:
            async for messages in feed.batches(max_size=500):
                ...

    The first message is always a Session. Then come the retained reports: those after `after` if `session_id` is still the
    exchange's session, otherwise all of them. Live reports follow. This class repeats nothing, drops nothing and keeps the
    order; the caller checks the sequences.

    `session` holds that first message once connected.

    `heartbeat_s` bounds how long a dead peer goes unnoticed: a ping is sent after that much silence, and the answer may take
    half as long.
    """

    session: Session

    def __init__(
        self, url: str, *, after: int = 0, session_id: str | None = None, connect_timeout_s: float = 5.0, heartbeat_s: float = 6.0
    ) -> None:
        self._url = url.rstrip("/") + "/executions"
        self._query = {"after": str(after)} | ({"session": session_id} if session_id else {})
        self._connect_timeout_s = connect_timeout_s
        self._heartbeat_s = heartbeat_s
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._end: str | None = None
        self._http: aiohttp.ClientSession | None = None
        self._receiving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect and read the session message; raises FeedDisconnected."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._connect()
        except (aiohttp.ClientError, OSError) as error:
            await self.close()
            raise FeedDisconnected(str(error) or f"no connection within {self._connect_timeout_s:g} s") from error
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def next_batch(self, max_size: int = 1000) -> list[FeedMessage]:
        """Like `next_frames`, but with each frame parsed."""
        return [parse_frame(frame) for frame in await self.next_frames(max_size)]

    async def next_frames(self, max_size: int = 1000) -> list[bytes]:
        """Wait for a frame, then return all that have arrived, at most `max_size`; never an empty list.

        Once the connection has ended and all frames that arrived before were returned, every call raises FeedDisconnected.
        Cancelling a call loses nothing.
        """
        while not self._waiting:
            if self._end is not None:
                raise FeedDisconnected(self._end)
            self._changed.clear()
            await self._changed.wait()
        frames = [self._waiting.popleft() for _ in range(min(max_size, len(self._waiting)))]
        self._waiting_bytes -= sum(map(len, frames)) + FRAME_OVERHEAD_BYTES * len(frames)
        self._room.set()
        return frames

    async def batches(self, max_size: int = 1000) -> AsyncIterator[list[FeedMessage]]:
        """Yield every `next_batch` until the connection ends. Raises FeedDisconnected."""
        while True:
            yield await self.next_batch(max_size)

    async def close(self) -> None:
        """Close the connection; messages not fetched yet are dropped."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        self._waiting.clear()
        self._end = self._end or "closed"

    async def _connect(self) -> None:
        tracing = aiohttp.TraceConfig()
        tracing.on_request_redirect.append(refuse_redirect)
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None), trace_configs=[tracing]
        )
        socket = await self._http.ws_connect(
            self._url,
            params=self._query,
            heartbeat=self._heartbeat_s,
            max_msg_size=MAX_READ_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            decode_text=False,
        )
        self._receiving = asyncio.create_task(self._receive(socket))
        while not self._waiting and self._end is None:
            self._changed.clear()
            await self._changed.wait()
        first = parse_frame(self._waiting[0]) if self._waiting else None
        if not isinstance(first, Session):
            raise FeedDisconnected(self._end or "the feed does not begin with its session")
        self.session = first

    async def _receive(self, socket: "aiohttp.ClientWebSocketResponse[bool]") -> None:
        """Read frames from the socket as they come, so that a whole batch is ready when the consumer asks for one."""
        try:
            while True:
                message = await socket.receive()
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    self._end = f"the connection ended ({socket.exception() or message.data or message.type.name})"
                    break
                self._waiting.append(message.data)
                self._waiting_bytes += len(message.data) + FRAME_OVERHEAD_BYTES
                self._changed.set()
                while self._waiting_bytes > MAX_WAITING_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except (aiohttp.ClientError, OSError) as error:
            self._end = f"the connection broke: {error}"
        finally:
            self._end = self._end or "closed"
            self._changed.set()
            await socket.close()


async def refuse_redirect(_session: object, _context: object, redirect: aiohttp.TraceRequestRedirectParams) -> None:
    """Accept executions only from the configured exchange."""
    raise FeedDisconnected(f"the exchange redirects (HTTP {redirect.response.status}), and redirects are not followed")
