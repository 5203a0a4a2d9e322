"""What only the real web server does to a request on its way to the API."""

import json
import socket
from contextlib import suppress

import pytest

from testsupport.web_process import ORDER, WebProcess


def exchange_bytes(web: WebProcess, request: bytes) -> tuple[int, str]:
    """Status and body of the answer to these bytes; a server that stops listening in the middle of them is fine."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def request(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /orders HTTP/1.1", b"Host: 127.0.0.1", b"Connection: close", b"Content-Type: application/json", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def orders_of_demo(web: WebProcess) -> int:
    return len(json.loads(web.ask("GET", "/orders?page_size=500").text)["results"])


def test_an_order_is_accepted(web: WebProcess) -> None:
    before = orders_of_demo(web)
    body = json.dumps(ORDER).encode()
    status, text = exchange_bytes(web, request(body, b"Content-Length: %d" % len(body)))
    assert (status, json.loads(text)["status"]) == (202, "pending")
    assert orders_of_demo(web) == before + 1


@pytest.mark.parametrize("credentials", [b"Token \xff\xfe", b"Token \xc3\xa9", b"\xff", b"", b"Token", b"Basic ZGVtbzo="])
def test_credentials_that_the_server_cannot_read_are_not_taken_for_none(web: WebProcess, credentials: bytes) -> None:
    before = orders_of_demo(web)
    body = json.dumps(ORDER).encode()
    status, _ = exchange_bytes(web, request(body, b"Content-Length: %d" % len(body), b"Authorization: " + credentials))
    assert status == 401
    assert orders_of_demo(web) == before


def test_a_chunked_body_is_refused_by_that_reason(web: WebProcess) -> None:
    before = orders_of_demo(web)
    body = json.dumps(ORDER).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    status, text = exchange_bytes(web, request(chunked, b"Transfer-Encoding: chunked"))
    assert (status, "Content-Length" in text) == (411, True)
    assert orders_of_demo(web) == before


def test_a_huge_body_is_refused_before_it_is_sent(web: WebProcess) -> None:
    status, text = exchange_bytes(web, request(b"", b"Content-Length: 10000000"))
    assert (status, json.loads(text)) == (413, {"detail": "The request body is larger than 1048576 bytes."})


def test_a_request_that_breaks_off_stores_nothing(web: WebProcess) -> None:
    before = orders_of_demo(web)
    body = json.dumps(ORDER).encode()
    with socket.create_connection(("127.0.0.1", web.port)) as connection:
        connection.sendall(request(body[:-1], b"Content-Length: %d" % len(body)))
    assert web.ask("GET", "/health/live").status == 200
    assert orders_of_demo(web) == before
