"""A client repeats one order until it is accepted, whatever it is answered meanwhile."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.load import Client

HALTED = (422, b'{"detail": "Trading is halted: no new orders are accepted.", "code": "trading_halted"}')
TAKEN = (202, b'{"id": "1"}')


@contextmanager
def answering(*answers: tuple[int, bytes]) -> Iterator[tuple[Client, list[Any]]]:
    """A client whose requests get these answers in turn, and the list of its requests."""
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name for it
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = left.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        system = SimpleNamespace(installation=SimpleNamespace(port=server.server_port))
        try:
            yield Client(system, "client", "token", 1), asked  # type: ignore[arg-type]
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize("refusal", [HALTED, (503, b"{}"), (422, b"<html>")])
def test_an_order_that_is_not_taken_is_sent_again_with_the_same_id(refusal: tuple[int, bytes]) -> None:
    with answering(refusal, TAKEN) as (client, asked):
        assert client.try_to_place("c1", "AAPL_2025_03") is None
        assert client.answered == []
        assert client.try_to_place("c1", "AAPL_2025_03") == {"id": "1"}
    assert client.answered == ["c1"]
    assert asked[0] == asked[1]


def test_another_refusal_is_none_that_a_trial_may_have() -> None:
    with answering((422, b'{"code": "max_quantity"}')) as (client, _), pytest.raises(AssertionError, match="422"):
        client.try_to_place("c1", "AAPL_2025_03")
