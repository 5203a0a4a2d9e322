"""Measures the way from the exchange's feed through the database to WebSocket clients, one and many."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import psutil

from benchmarks.children import BenchmarkError, Children
from benchmarks.contenders import NOTIFICATIONS, OURS, UPDATES, Contender
from benchmarks.feed_replay import SESSION_ID
from benchmarks.figures import Figure
from benchmarks.measure import Measure
from benchmarks.memory import proportional_bytes
from benchmarks.stage import Stage, Turn
from devstack.free_ports import free_port

WARM_UP_S = 2.0
READY_S = 60.0
ORDERS = 2000
GENERATORS = "generators, wired to each other"
CALM_PER_S = 1000
CLIENTS_PER_ACCOUNT = 10
DELIVERED_PER_S = 5000
# Large enough that no order is ever filled completely, however long the measure takes.
OPEN_ORDERS = """
INSERT INTO orders_order (
    id, account_id, client_order_id, created_at, updated_at, type, side, instrument, quantity, status, attempt_count,
    give_up_at, may_be_at_exchange, filled_quantity, filled_value, exchange_order_id, placed_at, execution_status
)
SELECT
    id, accounts[1 + n % cardinality(accounts)], id::text, now(), now(), 'market', 'buy', 'AAPL_2025_03', 1000000000,
    'completed', 1, now(), false, 0, 0, 'replay-' || n, now(), 'new'
FROM
    (SELECT n, gen_random_uuid() AS id FROM generate_series(1, {count}) AS n) AS new,
    (SELECT {accounts}::integer[] AS accounts) AS given
RETURNING id::text, exchange_order_id, account_id::text
"""
POSITION = "INSERT INTO orders_feedposition (feed, session_id, sequence, updated_at) VALUES ('exchange', '{session}', 0, now())"


def one_client(stage: Stage, contender: Contender, *, per_s: float) -> list[Figure]:
    """One client that sees all orders of its account; `per_s` is 0 for as many updates as can be applied."""
    with following(stage, contender, accounts=1, each=1, per_s=per_s) as told:
        return [
            Figure("delivered", told["rate"], "updates/s"),
            Figure("p50", told["p50_ms"], "ms"),
            Figure("p99", told["p99_ms"], "ms"),
        ]


def many_clients(stage: Stage, contender: Contender) -> list[Figure]:
    """100 accounts with 10 clients each; each event goes to the clients of its account."""
    per_s = DELIVERED_PER_S / CLIENTS_PER_ACCOUNT
    with following(stage, contender, accounts=len(contender.accounts), each=CLIENTS_PER_ACCOUNT, per_s=per_s) as told:
        return [
            Figure("delivered", told["rate"], "events/s"),
            Figure("p50", told["p50_ms"], "ms"),
            Figure("p99", told["p99_ms"], "ms"),
            Figure("memory at first", told["memory_before"] / 2**20, "MiB"),
            Figure("memory in the end", told["memory_after"] / 2**20, "MiB"),
        ]


@contextmanager
def following(stage: Stage, contender: Contender, *, accounts: int, each: int, per_s: float) -> Iterator[dict[str, float]]:
    """What clients received while the feed was replayed at `per_s`, and the memory of the notification service (bytes)."""
    port = free_port()
    with (
        TemporaryDirectory() as directory,
        stage.turn(contender, exchange=False, EXCHANGE_URL=f"http://127.0.0.1:{port}") as turn,
    ):
        orders, tokens = Path(directory, "orders"), Path(directory, "tokens")
        orders.write_text(make_orders(turn, contender.accounts[:accounts]))
        tokens.write_text("\n".join(contender.tokens[:accounts]))
        turn.start(NOTIFICATIONS)
        turn.children.wait_for_port(contender.notifications_port)
        clients = Clients(turn.children, contender.notifications_port, "/ws/orders", tokens, each)
        start_replay(turn.children, port, orders, per_s)
        turn.start(UPDATES)
        service = next(child.pid for name, child in turn.children.running if name.startswith(NOTIFICATIONS))
        turn.children.wait_until(lambda: position(turn) > 0, "the feed is followed", READY_S)
        time.sleep(WARM_UP_S)
        before = proportional_bytes(psutil.Process(service))
        told = clients.count_for(stage.options.seconds)
        yield told | {"memory_before": before, "memory_after": proportional_bytes(psutil.Process(service))}


def generators(stage: Stage, _contender: Contender, *, clients: int = 1, per_s: float = 0) -> list[Figure]:
    """The replayed feed, `per_s` to each client, read directly by our clients: shows that neither limits the other measures."""
    port = free_port()
    with Children(stage.directory / "logs" / "generators") as children, TemporaryDirectory() as directory:
        orders, tokens = Path(directory, "orders"), Path(directory, "tokens")
        orders.write_text(made_up_orders())
        tokens.write_text("none")
        start_replay(children, port, orders, per_s)
        told = Clients(children, port, "/executions", tokens, clients).count_for(stage.options.seconds)
        return [Figure("delivered", told["rate"], "updates/s" if clients == 1 else "events/s")]


class Clients:
    """The process that runs all clients."""

    def __init__(self, children: Children, port: int, path: str, tokens: Path, each: int) -> None:
        options = ["--port", str(port), "--path", path, "--tokens", str(tokens), "--each", str(each)]
        command = [sys.executable, "-m", "benchmarks.websocket_clients", *options]
        self.process = children.start("clients", command, is_heard=True)
        if self.hear() != "ready":
            raise BenchmarkError(f"the WebSocket clients do not connect: see {children.logs / 'clients.log'}")

    def count_for(self, seconds: float) -> dict[str, float]:
        self.say()
        time.sleep(seconds)
        self.say()
        told: dict[str, float] = orjson.loads(self.hear() or b"{}")
        if not told.get("messages"):
            raise BenchmarkError("the WebSocket clients received nothing, or were cut off")
        return told

    def say(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Read the next line; empty when the process has ended, as it does when a client is cut off."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def start_replay(children: Children, port: int, orders: Path, per_s: float) -> None:
    options = ["--port", str(port), "--orders", str(orders), "--rate", str(per_s)]
    children.start("feed", [sys.executable, "-m", "benchmarks.feed_replay", *options])
    children.wait_for_port(port)


def made_up_orders() -> str:
    """Orders that do not exist, for a feed whose reader does not look them up."""
    return "".join(f"01a20c00-0000-7000-8000-{number:012d} replay-{number}\n" for number in range(ORDERS))


def make_orders(turn: Turn, accounts: Sequence[int]) -> str:
    """Store orders that are open at the exchange, and a position at the start of the feed; return the orders, one per line."""
    numbers = ", ".join(map(str, accounts))
    with turn.database() as database:
        made = database.execute(OPEN_ORDERS.format(count=ORDERS, accounts=f"ARRAY[{numbers}]").encode())
        lines = "".join(" ".join(order) + "\n" for order in made)
        database.execute(POSITION.format(session=SESSION_ID).encode())
    return lines


def position(turn: Turn) -> int:
    with turn.database() as database:
        row = database.execute("SELECT sequence FROM orders_feedposition").fetchone()
        return int(row[0]) if row else 0


FLOOD = Measure(
    "updates",
    "Feed to database to a WebSocket client, as fast as it goes",
    "The feed is replayed as fast as it is read, over 2,000 orders of one account with one client. Messages then queue in the "
    "socket, so only their number is meaningful.",
    {OURS: partial(one_client, per_s=0), GENERATORS: generators},
)
CALM = Measure(
    "updates_calm",
    f"Feed to database to a WebSocket client, at {CALM_PER_S:,} updates/s",
    "From the moment the report was made until the client has the message.",
    {OURS: partial(one_client, per_s=CALM_PER_S)},
)
MANY_CLIENTS = Measure(
    "clients",
    f"1,000 WebSocket clients, {DELIVERED_PER_S:,} events/s in all",
    "100 accounts with 10 clients each. The memory is that of the notification service.",
    # The generators send more than the clients can take, in messages that come one by one.
    {OURS: many_clients, GENERATORS: partial(generators, clients=1000, per_s=50)},
)
