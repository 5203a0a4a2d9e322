"""Clients that send their body slowly, or never, do not keep the others from being served."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from io import BytesIO
from typing import Any

import pytest
from django.conf import settings

from infrastructure.body_reads import OF_ALL, OF_ONE_ADDRESS, BodyReads, bounded_body_reads
from testsupport.waiting import wait_until
from testsupport.web_process import ORDER, Answer, WebProcess

UNFINISHED = b"POST /orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


@contextmanager
def slow_client(web: WebProcess) -> Iterator[None]:
    with socket.create_connection(("127.0.0.1", web.port)) as client:
        client.sendall(UNFINISHED)
        yield


@pytest.fixture
def slow_clients(web: WebProcess) -> Iterator[list[None]]:
    """More of them than the web process has threads."""
    with ExitStack() as clients:
        yield [clients.enter_context(slow_client(web)) for _ in range(settings.WEB_PROCESSES * settings.WEB_THREADS * 2)]


def test_whoever_sends_no_body_is_served_meanwhile(web: WebProcess, slow_clients: list[None]) -> None:
    # They wait for ever: without a thread left for others none of these is answered in the time that `ask` gives it.
    for _ in range(20):
        assert web.ask("GET", "/health/ready").status == 200
        assert web.ask("GET", "/orders?page_size=1").status == 200


def refusal(web: WebProcess) -> Answer | None:
    """The answer to an order that is turned away; None when it is taken."""
    answer = web.order()
    assert answer.status in (202, 503), answer.text
    return answer if answer.status == 503 else None


def test_orders_are_taken_again_as_soon_as_they_are_gone(web: WebProcess) -> None:
    with ExitStack() as clients:
        for _ in range(settings.WEB_PROCESSES * settings.WEB_THREADS * 2):
            clients.enter_context(slow_client(web))
        # What was sent to it is not yet with its threads.
        refused = wait_until(lambda: refusal(web), what="orders are turned away")
    assert refused is not None
    assert refused.headers["retry-after"] == "1"
    wait_until(lambda: refusal(web) is None, what="orders are taken")


def answered(read: Any, application: Any, **environment: str) -> tuple[str, bytes]:
    """Status and body that the application, with `read` as the body, is seen to give."""
    said: list[str] = []
    given = {"CONTENT_LENGTH": "4", "REMOTE_ADDR": "192.0.2.1", "wsgi.input": read, **environment}
    body = b"".join(bounded_body_reads(application)(given, lambda status, _headers: said.append(status)))
    return said[0], body


def echo(environment: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [environment["wsgi.input"].read(2), environment["wsgi.input"].read()]


def test_the_application_reads_the_body_as_ever() -> None:
    assert answered(BytesIO(b"body and the next request"), echo) == ("200 OK", b"body")
    assert answered(BytesIO(b"bo"), echo) == ("200 OK", b"bo")
    assert answered(BytesIO(b"body"), echo, CONTENT_LENGTH="") == ("200 OK", b"body")


def test_forms_that_are_too_long_hold_no_thread(web: WebProcess) -> None:
    """Django goes through a form with files for as long as one is sent."""
    head = (
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: csrftoken=" + b"x" * 32 + b"\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 2000000\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    )
    with ExitStack() as clients:
        for _ in range(settings.WEB_PROCESSES * settings.WEB_THREADS * 2):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=20))
            client.sendall(head)
            assert client.recv(100).split()[1] == b"413"


def test_an_idle_connection_is_closed_like_a_slow_head(web: WebProcess) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as idle, socket.socket() as slow:
        slow.settimeout(30)
        slow.connect(("127.0.0.1", web.port))
        slow.sendall(b"GET /health/live HTTP/1.1\r\nHo")
        assert idle.recv(100) == slow.recv(100) == b""


def test_nothing_but_http_1_is_spoken(web: WebProcess) -> None:
    """The limits of heads and bodies are for it."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        assert not client.recv(100).startswith(bytes([0, 0]))


def test_a_body_that_is_too_long_is_left_for_the_application_to_refuse() -> None:
    class Unread:
        def read(self, *_: Any) -> bytes:
            raise AssertionError

    def refuse(environment: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("413 Too Large", [])
        return []

    assert answered(Unread(), refuse, CONTENT_LENGTH=str(2**21))[0] == "413 Too Large"


def test_one_address_leaves_room_for_others_and_all_leave_some_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infrastructure.body_reads.PATIENCE_S", 0)
    reads = BodyReads()
    assert [reads.begin("a") for _ in range(OF_ONE_ADDRESS + 1)] == [True] * OF_ONE_ADDRESS + [False]
    others = [reads.begin(str(number)) for number in range(settings.WEB_THREADS)]
    assert sum(others) == OF_ALL - OF_ONE_ADDRESS < settings.WEB_THREADS
    reads.end("a")
    assert reads.begin("a")
    assert not reads.begin("b")
    # Whoever was refused, or has ended, is not kept.
    for address in list(reads.reading):
        for _ in range(reads.reading[address]):
            reads.end(address)
    assert reads.reading == {}


def test_nobody_is_remembered_for_long() -> None:
    reads = BodyReads()
    for number in range(100):
        assert reads.begin(str(number))
        reads.end(str(number))
    assert not reads.reading


def test_a_head_that_is_too_long_is_refused(web: WebProcess) -> None:
    answers = []
    for size in (10_000, 128 * 1024):
        with closing(socket.create_connection(("127.0.0.1", web.port), timeout=10)) as client:
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"x" * size + b"\r\n\r\n")
            answers.append(int(client.recv(100).split()[1]))
    assert answers == [200, 431]
    assert json.loads(web.ask("POST", "/orders", ORDER).text)["status"] == "pending"
