"""A connection whose server and consumer are played by the test."""

import asyncio
from typing import Any

import pytest

from notifications import connection
from notifications.closings import STOPPING, TOO_SLOW
from notifications.connection import GONE, MAX_WAITING_BYTES, ClientGone, Connection
from notifications.tests.talking import never


class Server:
    """Granian as it is seen from here: does not send a close frame while somebody waits for a frame of the client."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.has_sent = asyncio.Event()
        self.is_stuck = False
        self.is_gone = False
        self._is_read = False

    async def receive(self) -> dict[str, Any]:
        self._is_read = True
        try:
            return await never()
        finally:
            self._is_read = False

    async def send(self, message: dict[str, Any]) -> None:
        if self.is_gone:
            raise RuntimeError("ASGI flow error")
        if self.is_stuck or (message["type"] == "websocket.close" and self._is_read):
            await never()
        self.sent.append(message)
        self.has_sent.set()


async def served(server: Server) -> tuple[Connection, "asyncio.Task[dict[str, Any]]"]:
    """A connection as it is while a client is served: one task sends, and the consumer waits for a frame."""
    client = Connection(server.receive, server.send)
    client.serving = asyncio.create_task(client.send_waiting())
    consumer = asyncio.create_task(client.receive())
    await asyncio.sleep(0)
    return client, consumer


def test_it_is_closed_from_outside_while_the_consumer_waits_for_a_frame():
    async def run() -> None:
        server = Server()
        client, consumer = await served(server)
        client.offer("one")
        await server.has_sent.wait()
        client.end(STOPPING)
        client.end(TOO_SLOW)
        client.offer("too late")
        assert await consumer == {"type": "websocket.disconnect", "code": 1001}
        close = {"type": "websocket.close", "code": STOPPING.code, "reason": STOPPING.reason}
        assert server.sent == [{"type": "websocket.send", "text": "one"}, close]

    asyncio.run(run())


def test_a_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "STALL_S", 0.05)
    monkeypatch.setattr(connection, "CLOSE_S", 0.05)

    async def run() -> None:
        server = Server()
        server.is_stuck = True
        client, consumer = await served(server)
        client.offer("one")
        assert await consumer == {"type": "websocket.disconnect", "code": TOO_SLOW.code}
        assert server.sent == []

    asyncio.run(run())


def test_what_waits_is_bounded():
    async def run() -> None:
        server = Server()
        client = Connection(server.receive, server.send)
        text = "x" * 1000
        for _ in range(MAX_WAITING_BYTES // 1100):
            client.offer(text)
        was_worth_waiting_for = client.is_worth_waiting_for
        client.offer(text)
        client.offer(text)
        assert (was_worth_waiting_for, client.is_worth_waiting_for) == (True, False)
        assert (await client.receive())["code"] == TOO_SLOW.code
        assert [message["type"] for message in server.sent] == ["websocket.close"]

    asyncio.run(run())


def test_a_client_that_is_gone_is_noticed_by_sending():
    async def run() -> None:
        server = Server()
        server.is_gone = True
        client, consumer = await served(server)
        client.offer("one")
        assert await consumer == GONE
        assert client.serving is not None
        assert isinstance(client.serving.exception(), ClientGone)

    asyncio.run(run())
