"""Measures whether cost grows with the number of stored orders: the same work among 100,000 and among many more."""

import json
import sys
import time
from dataclasses import replace
from http import HTTPStatus
from urllib.request import Request, urlopen

from benchmarks import wrk
from benchmarks.children import BenchmarkError, run
from benchmarks.contenders import WEB, Contender
from benchmarks.figures import Figure
from benchmarks.filling import fill
from benchmarks.measure import Measure
from benchmarks.ours import lemon_market
from benchmarks.stage import Stage, Turn

SMALL = 100_000
FEW, MANY = "100,000 orders", "many more orders"
# Pages of the back office.
PAGES = {
    "landing page": "/admin/",
    "order list": "/admin/orders/order/",
    "failed list": "/admin/orders/order/?attention=operator&status__exact=failed",
}
CLAIMS_S = 120.0
FIRST_PAGE_S = 60.0
READERS = 4


def measure(stage: Stage, contender: Contender) -> list[Figure]:
    """The median time of each call, in milliseconds."""
    seconds = stage.options.seconds
    root, token = f"http://127.0.0.1:{contender.web_port}", f"Authorization: Token {contender.tokens[0]}"
    session = f"Cookie: sessionid={contender.session}"
    with stage.turn(contender, WEB, exchange=False) as turn:
        fill_once(turn)
        last = newest(turn)
        claiming = json.loads(run([sys.executable, "-m", "benchmarks.claiming"], within_s=CLAIMS_S, environment=turn.environment))
        # The first visitor has a whole day counted, later ones only its newest minutes.
        first_page_s = fetch(root + PAGES["landing page"], session)
        reads = {"GET /orders": ("/orders", token)} | {name: (path, session) for name, path in PAGES.items()}
        for path, header in reads.values():
            fetch(root + path, header)
        loads = {
            name: wrk.get(root + path, [header], seconds=seconds, connections=READERS) for name, (path, header) in reads.items()
        }
        posted = wrk.post_orders(root + "/orders", contender.tokens, seconds=seconds, connections=stage.options.connections)
    remove_after(stage, contender, last)
    return [
        Figure("POST /orders", posted.p50_ms, "ms"),
        Figure("claim of 200", claiming["p50_ms"], "ms"),
        *(Figure(name, load.p50_ms, "ms") for name, load in loads.items()),
        Figure("first landing page ever", first_page_s * 1000, "ms"),
    ]


def fetch(url: str, header: str) -> float:
    """Seconds that the page takes. Raises BenchmarkError when the answer is not the page itself, such as a redirect."""
    name, _, value = header.partition(": ")
    begun_at = time.monotonic()
    try:
        with urlopen(Request(url, headers={name: value}), timeout=FIRST_PAGE_S) as answer:  # noqa: S310 - http it is
            answer.read()
    except OSError as error:
        raise BenchmarkError(f"{url}: {error}") from error
    if answer.status != HTTPStatus.OK or answer.url != url:
        raise BenchmarkError(f"{url}: status {answer.status} of {answer.url}")
    return time.monotonic() - begun_at


def fill_once(turn: Turn) -> None:
    """Fill the database unless it is full. It is kept for the next run: filling the large one takes many minutes."""
    count = int(turn.contender.database.rpartition("_")[2])
    with turn.database() as database:
        row = database.execute("SELECT count(*) FROM orders_order").fetchone()
        assert row is not None
        if row[0] < count:
            # Remove what a run left that was stopped while filling.
            database.execute("TRUNCATE orders_order CASCADE")
            sys.stderr.write(f"Filling {turn.contender.database} with {count:,} orders ...\n")
            fill(database.cursor(), count, list(turn.contender.accounts))
        database.execute("CHECKPOINT")


def newest(turn: Turn) -> str:
    with turn.database() as database:
        row = database.execute("SELECT id::text FROM orders_order ORDER BY id DESC LIMIT 1").fetchone()
        assert row is not None
        return str(row[0])


def remove_after(stage: Stage, contender: Contender, last: str) -> None:
    """Remove what this round has posted, so that the next one finds the same."""
    with stage.connect(contender.database) as database:
        database.execute("DELETE FROM orders_orderevent WHERE order_id > %s", [last])
        database.execute("DELETE FROM orders_order WHERE id > %s", [last])
        database.execute("TRUNCATE django_q_ormq")


def few(stage: Stage) -> Contender:
    return replace(lemon_market(stage, f"orders_{SMALL}", is_emptied=False), name=FEW)


def many(stage: Stage) -> Contender:
    return replace(lemon_market(stage, f"orders_{stage.options.large}", is_emptied=False), name=MANY)


GROWING = Measure(
    "growth",
    "The same work among few and among many orders stored",
    "Medians. A claim takes 200 due orders and is rolled back.",
    {FEW: measure, MANY: measure},
)
