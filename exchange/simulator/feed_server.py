"""The simulated exchange's side of the execution feed.

Every connection is just a cursor on the retained reports: a slow reader costs no memory beyond one write buffer, and one
that stalls, or falls behind what is retained, is cut off.
"""

import asyncio
import contextlib
import logging
import math

import orjson
from aiohttp import web

from exchange.simulator.control import json_answer
from exchange.simulator.exchange import SimulatedExchange
from exchange.simulator.report_log import text_frame

logger = logging.getLogger(__name__)

FRAMES_PER_WRITE = 500
# Writing pauses when the full limit waits for the reader, and resumes below the low one.
FULL_BUFFER_BYTES = 1024 * 1024
LOW_BUFFER_BYTES = 128 * 1024
BUFFER_POLL_S = 0.01
# A reader that reads nothing at all for this long is cut off.
STALL_S = 10.0
HEARTBEAT_S = 30.0


def add_routes(app: web.Application, exchange: SimulatedExchange) -> None:
    """Add the WebSocket /executions and connect it to the exchange."""
    connections: set[FeedConnection] = set()

    def wake() -> None:
        for connection in connections:
            connection.wake.set()

    def cut() -> None:
        for connection in connections:
            connection.transport.abort()

    async def follow(request: web.Request) -> web.StreamResponse:
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 19):
            return json_answer(400, {"reason": "after is not a sequence number"})
        transport = request.transport
        # A report is a small message on loopback: compressing it costs more than sending it.
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, compress=False, max_msg_size=4096)
        await socket.prepare(request)
        if transport is None:
            return socket
        connection = FeedConnection(exchange, transport, int(after), request.query.get("session"))
        connections.add(connection)
        sending = asyncio.create_task(connection.send_reports())
        try:
            # Nothing is expected from the client; receiving keeps pings and the closing handshake going.
            async for _message in socket:
                pass
        finally:
            connections.discard(connection)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        return socket

    exchange.wake_feeds = wake
    exchange.cut_feeds = cut
    app.router.add_get("/executions", follow, allow_head=False)


class FeedConnection:
    """One reader of the feed, from the sequence that it already has."""

    def __init__(self, exchange: SimulatedExchange, transport: asyncio.Transport, after: int, session_id: str | None) -> None:
        self.transport = transport
        self.wake = asyncio.Event()
        self._exchange = exchange
        log = exchange.log
        # Another session's numbers mean nothing here. The session message tells a client whose position is beyond the end.
        self._sent = min(max(after, log.first_sequence - 1), log.last_sequence)
        if session_id != exchange.book.session_id:
            self._sent = log.first_sequence - 1

    async def send_reports(self) -> None:
        """Send the session, the retained reports after the reader's position and then new ones, until cut off."""
        try:
            await self._send_while_reader_keeps_up()
        except Exception:
            logger.exception("a feed connection failed")
        self.transport.abort()

    async def _send_while_reader_keeps_up(self) -> None:
        # Write encoded frames straight to the transport, many at once: the library's own sending costs several times as much
        # per frame. Both write whole frames on one event loop, so they never mix.
        self.transport.write(self._session_frame())
        while not self.transport.is_closing() and self._sent + 1 >= self._exchange.log.first_sequence:
            self.wake.clear()
            exchange = self._exchange
            due = exchange.clock() - exchange.faults.delay if exchange.faults.delay else math.inf
            frames = exchange.log.frames_after(self._sent, FRAMES_PER_WRITE, due)
            if frames:
                self._sent += len(frames)
                self.transport.write(b"".join(self._with_repeats(frames)))
                await self._buffer_has_room()
            else:
                await self._more_is_due()

    def _with_repeats(self, frames: list[bytes]) -> list[bytes]:
        """The frames, followed by those that are to be sent twice."""
        rate, dice = self._exchange.faults.repeat_rate, self._exchange.dice
        return frames + [frame for frame in frames if dice.random() < rate] if rate else frames

    async def _more_is_due(self) -> None:
        """Wait for new reports, or until a delayed one may be sent."""
        exchange = self._exchange
        occurred_at = exchange.log.occurred_at(self._sent + 1)
        wait_s = None if occurred_at is None else max(0.001, occurred_at + exchange.faults.delay - exchange.clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.wake.wait()

    async def _buffer_has_room(self) -> None:
        """Let the reader catch up; cut it off if it reads nothing at all."""
        await asyncio.sleep(0)
        waiting_bytes = self.transport.get_write_buffer_size()
        if waiting_bytes < FULL_BUFFER_BYTES:
            return
        loop = asyncio.get_running_loop()
        progress_at = loop.time()
        while waiting_bytes > LOW_BUFFER_BYTES and not self.transport.is_closing():
            await asyncio.sleep(BUFFER_POLL_S)
            still_waiting_bytes = self.transport.get_write_buffer_size()
            if still_waiting_bytes < waiting_bytes:
                waiting_bytes, progress_at = still_waiting_bytes, loop.time()
            elif loop.time() - progress_at > STALL_S:
                logger.warning("a feed reader is cut off because it reads nothing")
                self.transport.abort()

    def _session_frame(self) -> bytes:
        log = self._exchange.log
        return text_frame(
            orjson.dumps(
                {
                    "type": "session",
                    "session_id": self._exchange.book.session_id,
                    "first_sequence": log.first_sequence,
                    "last_sequence": log.last_sequence,
                }
            )
        )
