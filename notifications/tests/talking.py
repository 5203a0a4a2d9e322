"""Both ends of a conversation: the service as a process of its own, and clients of it that a test can wait for."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import aiohttp
import orjson

from devstack.free_ports import free_port
from testsupport.database import database_url
from testsupport.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
PATIENCE_S = 10.0
CLOSE_WAIT = aiohttp.ClientWSTimeout(ws_close=1.0)
T = TypeVar("T")

# A test run that is killed leaves no service behind.
DIE_WITH_PARENT = """
import os, signal, sys
from infrastructure.process_signals import die_with_parent
die_with_parent(signal.SIGKILL, int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Closed(Exception):
    """The service ended the connection; 1006 stands for an end without a close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class ServiceProcess:
    """`manage.py run_notification_service` on the database of the tests."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.port = free_port()
        self.output = directory / "output"
        self.environment = os.environ | {"DATABASE_URL": database_url(), "ALLOWED_HOSTS": "127.0.0.1,localhost"} | environment
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/orders"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running:
            code = self.stop(signal.SIGINT)
            assert code == 0, (code, self.said())

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = ["manage.py", "run_notification_service", "--port", str(self.port)]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DIE_WITH_PARENT, str(os.getpid()), *command],
                cwd=CHECKOUT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until(self.is_live, within_s=40, what="the service answers")
        except BaseException:
            # Nobody else would end it.
            self.stop()
            raise

    def said(self) -> str:
        """Everything that it has logged so far."""
        return self.output.read_text()

    def is_live(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/live", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(3 * PATIENCE_S)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


class Client:
    """One WebSocket connection; whatever is waited for fails the test when it does not come in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._loop = loop
        self.socket = socket
        self.hello: dict[str, Any] = {}

    def next(self) -> dict[str, Any]:
        """The next message, whatever it is. Raises Closed."""
        return self._run(self._next())

    def events(self, count: int) -> list[dict[str, Any]]:
        """The next so many events. Raises Closed."""
        return self._run(self._events(count))

    def closing(self) -> tuple[int, str]:
        """Wait for the end; what comes before it does not matter."""
        while True:
            try:
                self.next()
            except Closed as closed:
                return closed.code, closed.reason

    def is_alive(self) -> bool:
        """Whether it is served; events that arrive meanwhile are dropped."""
        self.send('{"type":"ping"}')
        while self.next()["type"] != "pong":
            pass
        return True

    def send(self, frame: str | bytes) -> None:
        self._run(self.socket.send_str(frame) if isinstance(frame, str) else self.socket.send_bytes(frame))

    def close(self) -> None:
        self._run(self.socket.close())

    async def _next(self) -> dict[str, Any]:
        frame = await self.socket.receive()
        if frame.type == aiohttp.WSMsgType.TEXT:
            message: dict[str, Any] = orjson.loads(frame.data)
            return message
        if frame.type == aiohttp.WSMsgType.CLOSE:
            raise Closed(frame.data, frame.extra or "")
        raise Closed(1006, "")

    async def _events(self, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < count:
            message = await self._next()
            if "event_id" in message:
                found.append(message)
        return found

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)


class Clients:
    """An event loop on a thread, and the clients that live on it; so tests wait for them without being asynchronous."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._http = self._run(self._open())
        self._clients: list[Client] = []

    def connect(
        self, url: str, token: str | None = None, *, after: str | None = None, subprotocols: tuple[str, ...] = (), **headers: str
    ) -> Client:
        """Shake hands, and nothing more."""
        if token is not None:
            headers["Authorization"] = f"Token {token}"
        params = None if after is None else {"after": after}
        socket = self._run(self._http.ws_connect(url, params=params, protocols=subprotocols, headers=headers, timeout=CLOSE_WAIT))
        client = Client(self._loop, socket)
        self._clients.append(client)
        return client

    def subscribe(self, url: str, token: str | None = None, **options: Any) -> Client:
        """A client that has been told that it is connected."""
        client = self.connect(url, token, **options)
        client.hello = client.next()
        assert client.hello["type"] == "hello"
        return client

    def close_all(self) -> None:
        """Between two tests."""
        for client in self._clients:
            client.close()
        self._clients.clear()

    def close(self) -> None:
        self._run(self._http.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)


async def never() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError
