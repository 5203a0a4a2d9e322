"""Many WebSocket clients in one process that do little but note when each message arrived.

    python -m benchmarks.websocket_clients --port PORT --path PATH --tokens FILE --each N

prints `ready` when all are connected, starts counting at a line on standard input, and at the next line prints what arrived
meanwhile as JSON. A library would take more time per message than the service that sends it.
"""

import argparse
import asyncio
import base64
import os
import sys
import time
from array import array
from datetime import datetime
from pathlib import Path

import orjson

from benchmarks.figures import percentile
from infrastructure.sockets import allow_many_sockets

CONNECTED_AT_ONCE = 50
OCCURRED_AT = b'"occurred_at":"'


class Counter:
    """Messages of all clients: how many, and how old each was (s)."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.begun_at = time.monotonic()
        self.ages_s = array("d")

    def summary(self) -> dict[str, float]:
        took_s = time.monotonic() - self.begun_at
        ages_s = self.ages_s or [0.0]
        return {
            "messages": len(self.ages_s),
            "rate": len(self.ages_s) / took_s,
            "p50_ms": percentile(ages_s, 0.5) * 1000,
            "p99_ms": percentile(ages_s, 0.99) * 1000,
        }


class Client(asyncio.Protocol):
    """Completes the handshake, and then counts text frames with an `occurred_at` (RFC 6455, section 5.2)."""

    def __init__(self, counter: Counter, request: bytes) -> None:
        self.counter = counter
        self.request = request
        self.buffer = bytearray()
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self.request)

    def connection_lost(self, error: Exception | None) -> None:
        # The others would look better without a client that is gone.
        sys.exit(f"a connection ended: {error or bytes(self.buffer[:200])!r}")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.connected.done():
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            if b" 101 " not in head:
                sys.exit(f"refused: {bytes(head[:200])!r}")
            self.buffer = bytearray(rest)
            self.connected.set_result(None)
        self.read_frames(time.time())

    def read_frames(self, now: float) -> None:
        buffer, start, end = self.buffer, 0, len(self.buffer)
        ages_s = self.counter.ages_s
        while end - start >= 2:
            size, body = buffer[start + 1], start + 2
            if size == 126:
                size, body = int.from_bytes(buffer[start + 2 : start + 4]), start + 4
            elif size == 127:
                size, body = int.from_bytes(buffer[start + 2 : start + 10]), start + 10
            if body + size > end:
                break
            found = buffer.find(OCCURRED_AT, body, body + size)
            if found >= 0:
                moment = found + len(OCCURRED_AT)
                text = buffer[moment : buffer.index(b'"', moment)].decode()
                ages_s.append(now - datetime.fromisoformat(text).timestamp())
            start = body + size
        del buffer[:start]


async def connect(port: int, path: str, tokens: list[str], counter: Counter) -> None:
    """Connect one client per token."""
    slots = asyncio.Semaphore(CONNECTED_AT_ONCE)

    async def connect_one(token: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: Upgrade", "Upgrade: websocket"]
        lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", f"Authorization: Token {token}", "", ""]
        request = "\r\n".join(lines).encode()
        async with slots:
            _, client = await asyncio.get_running_loop().create_connection(lambda: Client(counter, request), "127.0.0.1", port)
            await client.connected

    await asyncio.gather(*map(connect_one, tokens))


async def run(port: int, path: str, tokens: list[str]) -> None:
    counter = Counter()
    await connect(port, path, tokens, counter)
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    counter.begin()
    await asyncio.to_thread(sys.stdin.readline)
    say(orjson.dumps(counter.summary()).decode())


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.websocket_clients", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--each", type=int, default=1, help="clients for each token")
    options = parser.parse_args()
    allow_many_sockets()
    asyncio.run(run(options.port, options.path, options.tokens.read_text().split() * options.each))


if __name__ == "__main__":
    main()
