"""What HttpGateway does with connections: kept, stale, refused, hanging, all taken."""

import asyncio
import socket
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from exchange.gateway import Acknowledged, Found, Unavailable, Unknown
from exchange.tests.scenery import (
    ID,
    ORDER,
    PLACEMENT,
    TAKEN,
    answering,
    json_answer,
    make_placement,
    odd_exchange,
    open_http_gateway,
    read_request,
)


async def test_a_post_on_a_stale_connection_is_not_sent_again():
    async def answer_once(exchange, reader, writer):
        await read_request(exchange, reader)
        writer.write(json_answer("201 Created", TAKEN))
        await read_request(exchange, reader)

    async with odd_exchange(answer_once) as exchange, open_http_gateway(exchange.url) as gateway:
        assert await gateway.place(PLACEMENT) == Acknowledged("X1")
        assert isinstance(await gateway.place(PLACEMENT), Unknown)
    assert [(connection, line) for connection, line, _ in exchange.requests] == [(1, "POST /orders HTTP/1.1")] * 2


async def test_a_look_up_on_a_stale_connection_is_repeated_on_a_new_one():
    async def answer_once(exchange, reader, writer):
        await read_request(exchange, reader)
        writer.write(json_answer("200 OK", ORDER))
        await read_request(exchange, reader)

    async with odd_exchange(answer_once) as exchange, open_http_gateway(exchange.url) as gateway:
        assert isinstance(await gateway.look_up(PLACEMENT), Found)
        assert isinstance(await gateway.look_up(PLACEMENT), Found)
    assert [connection for connection, _, _ in exchange.requests] == [1, 1, 2]


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one():
    is_taken = asyncio.Event()

    async def answer_twice(exchange, reader, writer):
        await read_request(exchange, reader)
        writer.write(json_answer("201 Created", TAKEN))
        if exchange.connection_count == 1:
            await is_taken.wait()
            writer.write(json_answer("503 Service Unavailable", {"placed": False}))
        await reader.read()

    async with odd_exchange(answer_twice) as exchange, open_http_gateway(exchange.url) as gateway:
        assert await gateway.place(PLACEMENT) == Acknowledged("X1")
        is_taken.set()
        pool: Any = gateway._open_session().connector
        [[(kept, _)]] = pool._conns.values()
        async with asyncio.timeout(5):
            while not kept.should_close:  # noqa: ASYNC110 (nothing else tells that something arrived on a kept connection)
                await asyncio.sleep(0.01)
        assert await gateway.place(PLACEMENT) == Acknowledged("X1")
    assert [connection for connection, _, _ in exchange.requests] == [1, 2]


async def test_connections_are_kept_between_calls():
    answers = [json_answer("201 Created", TAKEN), json_answer("200 OK", ORDER), json_answer("202 Accepted", {})]
    async with odd_exchange(answering(*answers)) as exchange, open_http_gateway(exchange.url) as gateway:
        await gateway.place(PLACEMENT)
        await gateway.look_up(PLACEMENT)
        await gateway.cancel(ID)
    assert exchange.connection_count == 1


async def test_a_placement_is_sent_as_the_protocol_says():
    placement = make_placement(
        type="limit", limit_price=Decimal("1E+2"), valid_until=datetime(2025, 3, 1, 12, tzinfo=UTC).astimezone(None)
    )
    async with odd_exchange(answering(b"")) as exchange, open_http_gateway(exchange.url + "/v2/") as gateway:
        await gateway.place(placement)
    [(_, line, body)] = exchange.requests
    assert line == "POST /v2/orders HTTP/1.1"
    assert orjson.loads(body) == {
        "client_order_id": placement.client_order_id,
        "account": "demo",
        "type": "limit",
        "side": "buy",
        "instrument": "AAPL_2025_03",
        "limit_price": "100",
        "quantity": 10,
        "valid_until": "2025-03-01T12:00:00.000000Z",
    }


async def test_a_refused_connection_is_provably_not_sent():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with open_http_gateway(f"http://127.0.0.1:{listener.getsockname()[1]}") as gateway:
            outcome = await gateway.place(PLACEMENT)
    assert isinstance(outcome, Unavailable)
    assert outcome.exchange_is_unavailable


async def test_a_host_without_an_address_is_provably_not_sent():
    async with open_http_gateway("http://exchange.invalid") as gateway:
        outcome = await gateway.place(PLACEMENT)
    assert isinstance(outcome, Unavailable)
    assert outcome.exchange_is_unavailable


@pytest.mark.parametrize(("timeout_s", "connect_timeout_s"), [(5, 0.2), (0.2, 5)], ids=["connect timeout", "total timeout"])
async def test_a_timeout_while_connecting_is_provably_not_sent(timeout_s, connect_timeout_s):
    # A listener whose queue is full leaves further connections unanswered.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.create_connection(listener.getsockname()):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with open_http_gateway(url, timeout_s, connect_timeout_s=connect_timeout_s) as gateway:
            outcome = await gateway.place(PLACEMENT)
    assert isinstance(outcome, Unavailable)
    assert outcome.exchange_is_unavailable


async def test_waiting_for_a_free_connection_is_provably_not_sent():
    is_asked = asyncio.Event()

    async def hang(exchange, reader, writer):
        await read_request(exchange, reader)
        is_asked.set()
        await asyncio.Event().wait()

    async with odd_exchange(hang) as exchange, open_http_gateway(exchange.url, max_connections=1) as gateway:
        first = asyncio.create_task(gateway.place(PLACEMENT))
        await is_asked.wait()
        gateway._timeout_s = 0.1
        outcome = await gateway.place(make_placement())
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert isinstance(outcome, Unavailable)
    assert not outcome.exchange_is_unavailable
    assert len(exchange.requests) == 1
