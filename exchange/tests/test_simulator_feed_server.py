"""The simulated exchange's side of the feed: readers that are slow cost it nothing."""

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from exchange.feed import ExecutionFeed
from exchange.reports import ExecutionReport
from exchange.simulator import feed_server
from exchange.simulator.exchange import SimulatedExchange
from exchange.simulator.faults import Faults
from exchange.simulator.placements import read_placement
from exchange.simulator.server import create_app
from exchange.tests.scenery import LIMIT

# Every report is longer than this.
REPORT_BYTES = 300


@asynccontextmanager
async def exchange_in_process(directory, **options):
    """A simulated exchange on this event loop; gives it and its address."""
    exchange = SimulatedExchange(directory, Faults(latency=0), **options)
    runner = web.AppRunner(create_app(exchange), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    exchange.start()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield exchange, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        exchange.cut_feeds()
        await runner.cleanup()
        exchange.close()


def take(exchange: SimulatedExchange, count: int) -> None:
    """Add so many reports to the feed."""
    start = len(exchange.book.in_order)
    for number in range(start, start + count):
        document = LIMIT | {"client_order_id": f"order-{number}", "instrument": "NEVERFILL___"}
        exchange.take(read_placement(orjson.dumps(document)), 0)


async def connect_and_read_nothing(url: str) -> socket.socket:
    """A feed client with a tiny receive buffer that never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    host, port = url.removeprefix("http://").split(":")
    await loop.sock_connect(client, (host, int(port)))
    request = (
        "GET /executions HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await loop.sock_sendall(client, request.encode())
    return client


@pytest.fixture
def impatience(monkeypatch):
    """Bounds small enough to be reached in a test."""
    monkeypatch.setattr(feed_server, "FULL_BUFFER_BYTES", 64 * 1024)
    monkeypatch.setattr(feed_server, "LOW_BUFFER_BYTES", 16 * 1024)
    monkeypatch.setattr(feed_server, "STALL_S", 1.0)


async def count_bytes_until_the_end(client: socket.socket) -> int:
    read_bytes = 0
    with contextlib.suppress(ConnectionResetError):
        while chunk := await asyncio.get_running_loop().sock_recv(client, 65536):
            read_bytes += len(chunk)
    return read_bytes


async def test_a_reader_that_takes_nothing_is_cut_off_and_disturbs_nobody(tmp_path, impatience, caplog):
    async with exchange_in_process(tmp_path) as (exchange, url), asyncio.timeout(55):
        take(exchange, 20_000)
        with await connect_and_read_nothing(url) as client:
            count = 0
            async with ExecutionFeed(url) as feed:
                while count < 20_000:
                    count += sum(isinstance(message, ExecutionReport) for message in await feed.next_batch())
            while "is cut off" not in caplog.text:  # noqa: ASYNC110 (a socket that nobody reads tells nothing)
                await asyncio.sleep(0.01)
            assert await count_bytes_until_the_end(client) < 20_000 * REPORT_BYTES


async def test_a_reader_that_falls_behind_what_is_retained_is_cut_off(tmp_path, impatience, monkeypatch):
    monkeypatch.setattr(feed_server, "STALL_S", 60)
    async with exchange_in_process(tmp_path, retention=1000) as (exchange, url), asyncio.timeout(55):
        with await connect_and_read_nothing(url) as client:
            for _ in range(30):
                take(exchange, 1000)
                await asyncio.sleep(0)
            assert await count_bytes_until_the_end(client) < 30_000 * REPORT_BYTES
