"""The execution feed's client against servers that send odd frames."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from exchange.feed import MAX_READ_BYTES, ExecutionFeed, FeedDisconnected
from exchange.reports import MAX_FRAME_BYTES, BadReport, ExecutionReport, Session
from exchange.tests.scenery import answering, http_answer, odd_exchange, read_until_disconnected
from testsupport.report_frames import NEW

SESSION = orjson.dumps({"type": "session", "session_id": "S1", "first_sequence": 1, "last_sequence": 9})


def report(sequence: int) -> bytes:
    return orjson.dumps(NEW | {"sequence": sequence})


@asynccontextmanager
async def odd_feed(*frames: bytes, closes: bool = False) -> AsyncIterator[str]:
    """Serve these text frames to whoever connects; gives the address."""

    async def follow(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for frame in frames:
            await socket.send_frame(frame, web.WSMsgType.TEXT)
        if closes:
            await socket.close()
        async for _ in socket:
            pass
        return socket

    app = web.Application()
    app.router.add_get("/executions", follow)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def read_all(url: str, count: int) -> list:
    messages: list = []
    async with ExecutionFeed(url) as feed, asyncio.timeout(10):
        while len(messages) < count:
            messages += await feed.next_batch()
    return messages


async def test_a_bad_frame_does_not_stop_those_around_it():
    async with odd_feed(SESSION, report(1), b"what", report(2), b'{"sequence": 3}', report(4)) as url:
        messages = await read_all(url, 6)
    assert [type(message) for message in messages] == [
        Session,
        ExecutionReport,
        BadReport,
        ExecutionReport,
        BadReport,
        ExecutionReport,
    ]
    assert (messages[2].raw, messages[2].sequence) == ("what", None)
    assert (messages[4].raw, messages[4].sequence) == ('{"sequence": 3}', 3)


async def test_text_that_is_no_utf8_is_a_bad_report():
    async with odd_feed(SESSION, b'"\xff"', report(2)) as url:
        messages = await read_all(url, 3)
    assert isinstance(messages[1], BadReport)
    assert isinstance(messages[2], ExecutionReport)


async def test_an_oversized_report_is_passed_over():
    oversized = orjson.dumps(NEW | {"sequence": 1, "padding": "x" * MAX_FRAME_BYTES})
    async with odd_feed(SESSION, oversized, report(2)) as url:
        messages = await read_all(url, 3)
    assert isinstance(messages[1], BadReport)
    assert messages[1].sequence == 1
    assert isinstance(messages[2], ExecutionReport)


async def test_a_frame_beyond_all_measure_ends_the_connection():
    async with odd_feed(SESSION, b"x" * (MAX_READ_BYTES + 1)) as url:
        with pytest.raises(FeedDisconnected):
            await read_all(url, 2)


@pytest.mark.parametrize("frames", [(report(1),), (b"hello",), (b'{"type": "session"}',), ()])
async def test_a_feed_that_does_not_begin_with_its_session_is_none(frames):
    async with odd_feed(*frames, closes=True) as url:
        with pytest.raises(FeedDisconnected):
            await read_all(url, 1)


async def test_a_closed_feed_is_told_after_its_last_report():
    async with odd_feed(SESSION, report(1), closes=True) as url, ExecutionFeed(url) as feed:
        messages = await read_until_disconnected(feed)
        with pytest.raises(FeedDisconnected):
            await feed.next_batch()
    assert [type(message) for message in messages] == [Session, ExecutionReport]


@pytest.mark.parametrize(
    "answer", [http_answer("404 Not Found"), http_answer("200 OK"), http_answer("503 Service Unavailable"), b"", b"hello\r\n\r\n"]
)
async def test_a_server_without_a_feed_is_a_disconnected_feed(answer):
    async with odd_exchange(answering(answer)) as exchange:
        with pytest.raises(FeedDisconnected):
            async with ExecutionFeed(exchange.url):
                pass


async def test_a_redirect_is_not_followed():
    """Also not to a feed that would be taken for the exchange's."""
    async with odd_feed(SESSION, report(1)) as url:

        async def redirect(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(f"{url}/executions")

        app = web.Application()
        app.router.add_get("/executions", redirect)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            with pytest.raises(FeedDisconnected, match="the exchange redirects"):
                await read_all(f"http://127.0.0.1:{runner.addresses[0][1]}", 2)
        finally:
            await runner.cleanup()
