"""What the tests share: a placement to vary, waiting for a report, and an exchange whose answers are written byte by byte."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson

from exchange.feed import ExecutionFeed, FeedDisconnected
from exchange.gateway import CancelOutcome, LookUpOutcome, Placement, PlacementOutcome
from exchange.http_gateway import HttpGateway
from exchange.reports import ExecutionReport, FeedMessage, ReportType
from testsupport.simulator_process import SimulatorProcess


def make_placement(**changes: Any) -> Placement:
    """A market order with a new id that is valid for a minute."""
    placement = Placement(
        client_order_id=str(uuid4()),
        account="demo",
        type="market",
        side="buy",
        instrument="AAPL_2025_03",
        limit_price=None,
        quantity=10,
        valid_until=datetime.now(UTC) + timedelta(minutes=1),
    )
    return replace(placement, **changes)


ID = "0195a5c0-0000-7000-8000-000000000001"
PLACEMENT = make_placement(client_order_id=ID)
TAKEN = {"exchange_order_id": "X1", "client_order_id": ID, "status": "new"}
ORDER = TAKEN | {"filled_quantity": 4, "average_price": "12.5", "session_id": "S1", "last_sequence": 9}
LIMIT = {
    "client_order_id": "order-1",
    "account": "demo",
    "type": "limit",
    "side": "sell",
    "instrument": "AAPL_2025_03",
    "limit_price": "10.5",
    "quantity": 10,
    "valid_until": "2025-03-01T12:00:00.000000Z",
}
# What a proxy answers in the exchange's place.
HTML = b"<html><body>Bad things happened</body></html>"


async def next_report(url: str, client_order_id: str, *types: ReportType) -> ExecutionReport:
    """Wait for the first report of one of these types about an order, from the beginning of the feed."""
    async with asyncio.timeout(10), ExecutionFeed(url) as feed:
        async for messages in feed.batches():
            for message in messages:
                if isinstance(message, ExecutionReport) and message.client_order_id == client_order_id and message.type in types:
                    return message
    raise AssertionError("a feed ends with an exception")


async def read_until_disconnected(feed: ExecutionFeed) -> list[FeedMessage]:
    """Everything that a connection still brings."""
    messages: list[FeedMessage] = []
    try:
        async for batch in feed.batches(max_size=2):
            messages += batch
    except FeedDisconnected:
        return messages
    raise AssertionError("a feed ends with an exception")


@asynccontextmanager
async def open_http_gateway(url: str, timeout_s: float = 5, **options: Any) -> AsyncIterator[HttpGateway]:
    """An HttpGateway that is closed at the end."""
    gateway = HttpGateway(url, timeout_s, **options)
    try:
        yield gateway
    finally:
        await gateway.close()


@dataclass
class OddExchange:
    """A server that counts what it is asked; `requests` holds (number of the connection, request line, body)."""

    url: str = ""
    connection_count: int = 0
    requests: list[tuple[int, str, bytes]] = field(default_factory=list)


Script = Callable[[OddExchange, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def odd_exchange(script: Script) -> AsyncIterator[OddExchange]:
    """Serve every connection with a script, on a free port; the connection is closed when the script ends."""
    exchange = OddExchange()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        exchange.connection_count += 1
        try:
            await script(exchange, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    exchange.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield exchange
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(exchange: OddExchange, reader: asyncio.StreamReader) -> bytes:
    """Read and note one request; returns its body."""
    connection = exchange.connection_count
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
    body = await reader.readexactly(length)
    exchange.requests.append((connection, head.split("\r\n")[0], body))
    return body


def answering(*answers: bytes, then_hang: bool = False) -> Script:
    """A script that answers the requests of one connection with these bytes, one after the other."""

    async def script(exchange: OddExchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(exchange, reader)
            writer.write(answer)
            await writer.drain()
        if then_hang:
            await asyncio.Event().wait()

    return script


def http_answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A complete answer with its Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def json_answer(status: str, document: object, *headers: str) -> bytes:
    """A complete answer with a JSON body."""
    return http_answer(status, orjson.dumps(document), *headers)


async def place_and_get(answer: bytes, timeout_s: float = 5, *, then_hang: bool = False) -> PlacementOutcome:
    """Place PLACEMENT at an exchange that gives this answer."""
    script = answering(answer, then_hang=then_hang)
    async with odd_exchange(script) as exchange, open_http_gateway(exchange.url, timeout_s) as gateway:
        outcome = await gateway.place(PLACEMENT)
    assert len(exchange.requests) == 1, "an order is sent once, whatever the answer is"
    return outcome


async def look_up_and_get(answer: bytes) -> LookUpOutcome:
    """Look PLACEMENT up at an exchange that gives this answer."""
    async with odd_exchange(answering(answer)) as exchange, open_http_gateway(exchange.url) as gateway:
        return await gateway.look_up(PLACEMENT)


async def cancel_and_get(answer: bytes) -> CancelOutcome:
    """Cancel PLACEMENT at an exchange that gives this answer."""
    async with odd_exchange(answering(answer)) as exchange, open_http_gateway(exchange.url) as gateway:
        return await gateway.cancel(ID)


def ask(
    simulator: SimulatorProcess, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of one answer of the simulated exchange."""
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
