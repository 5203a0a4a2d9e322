"""Measures how an account's orders suffer (errors, response times) while another client causes as much load as it can.

    DJANGO_SETTINGS_MODULE=lemon_market.settings .venv/bin/python -m benchmarks.neighbours

starts its own PostgreSQL and web process, as `manage.py up` does, prints one line per neighbour, and ends by itself.
"""

import contextlib
import multiprocessing
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode

import psycopg

from testsupport.web_process import ORDER, WebProcess

CLIENTS = 4
BATCH = 1_000
# How many orders the measured account posts beside each neighbour.
ORDERS = 400
GIVEN_UP_S = 20.0
BURST_EVERY_S = 3.0
FORK = multiprocessing.get_context("fork")
# The worst queries that the back office allows a viewer: words that no index finds, searched for in all rows.
WORST_QUERIES = (
    "/admin/orders/safetyevent/?q=no+such+words+anywhere",
    "/admin/orders/order/?status__exact=completed&type__exact=limit&side__exact=sell&error_code__exact=internal_error",
    "/admin/auth/user/?q=no+such+name",
)


@dataclass(frozen=True, slots=True)
class Figures:
    statuses: Counter[int]
    p50_s: float
    p99_s: float

    def __str__(self) -> str:
        answers = ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(self.statuses.items()))
        return f"{answers}; p50 {self.p50_s * 1000:.0f} ms, p99 {self.p99_s * 1000:.0f} ms"


def ordered(web: WebProcess, count: int) -> Figures:
    """Post `count` orders, `CLIENTS` at a time."""

    def order(_: int) -> tuple[int, float]:
        try:
            answer = web.order()
        except (OSError, HTTPException):
            return 0, GIVEN_UP_S
        return answer.status, answer.took_s

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(order, range(count)))
    times = sorted(took_s for _, took_s in answers)
    return Figures(Counter(status for status, _ in answers), times[len(times) // 2], times[len(times) * 99 // 100])


@contextmanager
def repeated(work: Callable[[], object], *, at_once: int) -> Iterator[None]:
    """Repeat `work` in so many threads until the block ends."""
    stopping = threading.Event()

    def repeat() -> None:
        while not stopping.is_set():
            # Its result does not matter: the other account is measured.
            with contextlib.suppress(OSError, HTTPException):
                work()

    with ThreadPoolExecutor(at_once) as threads:
        for _ in range(at_once):
            threads.submit(repeat)
        try:
            yield
        finally:
            stopping.set()


def signing_in(web: WebProcess) -> AbstractContextManager[None]:
    cookie = web.ask("GET", "/login").headers["set-cookie"].split(";")[0]
    form = urlencode({"csrfmiddlewaretoken": cookie.split("=")[1], "username": "nobody", "password": "wrong"})
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    everybody = threading.Barrier(64)

    def sign_in() -> None:
        everybody.wait(BURST_EVERY_S * 2)
        web.ask("POST", "/login", form, **headers)
        time.sleep(BURST_EVERY_S)

    return repeated(sign_in, at_once=64)


@contextmanager
def silent(web: WebProcess, count: int) -> Iterator[None]:
    """Open connections that send nothing."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=20))
        yield


def batches(web: WebProcess) -> AbstractContextManager[None]:
    """Post batches for an account with a limit, so that each of its requests waits for the one before."""
    with psycopg.connect(web.environment["DATABASE_URL"]) as database:
        database.execute(
            "INSERT INTO orders_accountlimits (account_id, open_orders)"
            " SELECT id, 100000000 FROM auth_user WHERE username = 'demo' ON CONFLICT DO NOTHING"
        )
    return repeated(lambda: web.ask("POST", "/orders/batch", [ORDER] * BATCH), at_once=8)


def searching(web: WebProcess) -> AbstractContextManager[None]:
    def search() -> None:
        for query in WORST_QUERIES:
            web.ask("GET", query, Cookie=f"sessionid={web.session}")

    return repeated(search, at_once=2)


NEIGHBOURS: dict[str, Callable[[WebProcess], AbstractContextManager[None]]] = {
    "nobody": lambda web: contextlib.nullcontext(),
    "64 who try passwords at once": signing_in,
    "130 silent connections": lambda web: silent(web, 130),
    "1,500 silent connections": lambda web: silent(web, 1_500),
    "8 batches of 1,000 at once": batches,
    "a viewer's worst queries": searching,
}


@contextmanager
def beside(web: WebProcess, begin: Callable[[WebProcess], AbstractContextManager[None]]) -> Iterator[None]:
    """Run the neighbour in another process: in ours it would also delay the measurement itself."""
    began, ending = FORK.Event(), FORK.Event()

    def be_there() -> None:
        with begin(web):
            began.set()
            ending.wait()

    process = FORK.Process(target=be_there)
    process.start()
    try:
        if not began.wait(60):
            raise TimeoutError("the neighbour did not begin")
        yield
    finally:
        ending.set()
        process.join(60)
        process.kill()
        process.join()


def measure(directory: Path, count: int) -> Iterator[tuple[str, Figures]]:
    web = WebProcess(directory, FAILED_LOGINS_PER_MINUTE="30")
    try:
        ordered(web, count // 4)
        for name, begin in NEIGHBOURS.items():
            with beside(web, begin):
                yield name, ordered(web, count)
    finally:
        web.stop()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name, figures in measure(Path(directory), ORDERS):
            sys.stdout.write(f"{name:28} {figures}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
