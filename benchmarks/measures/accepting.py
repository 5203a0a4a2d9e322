"""Measures how many orders are accepted, one by one and in batches, and how many PostgreSQL alone could store."""

import re
from dataclasses import replace
from functools import partial

from benchmarks import wrk
from benchmarks.children import BenchmarkError, run
from benchmarks.contenders import OURS, PEERS, PGBENCH, SEED, WEB, WORKERS, Contender
from benchmarks.figures import Figure
from benchmarks.measure import Measure
from benchmarks.stage import Stage, Turn
from devstack.postgres_programs import installed_programs

BATCH = 500
# Each batch is one statement of 500 rows; more at once only wait for one another.
BATCH_CONNECTIONS = 4
WARM_UP_S = 2.0


def accept(stage: Stage, contender: Contender, *services: str, accounts: int = 1, batch: int = 0) -> list[Figure]:
    """Orders per second over all connections. Raises BenchmarkError when fewer orders are stored than were answered."""
    seconds, connections = stage.options.seconds, BATCH_CONNECTIONS if batch else stage.options.connections
    url, tokens = contender.orders_url + "/batch" * bool(batch), contender.tokens[:accounts]
    with stage.turn(contender, WEB, *services) as turn:
        answered = 0
        if not contender.places_while_accepting:
            # Skipped for a contender that would need many seconds for the requests that a warm-up leaves behind.
            warm_up = wrk.post_orders(url, tokens, seconds=WARM_UP_S, connections=connections, batch=batch)
            answered = (warm_up.requests - warm_up.refused) * max(1, batch)
        load = wrk.post_orders(url, tokens, seconds=seconds, connections=connections, batch=batch)
        check_stored(turn, answered + (load.requests - load.refused) * max(1, batch))
    if not load.requests:
        raise BenchmarkError(f"nothing was answered within {seconds:g} s")
    if load.refused > load.requests / 100:
        raise BenchmarkError(f"{load.refused} of {load.requests} answers refused")
    return wrk.figures(load, orders_per_request=max(1, batch))


def check_stored(turn: Turn, answered: int) -> None:
    """Raise BenchmarkError unless every answered order is stored: each answer was a promise."""
    with turn.database() as database:
        table = next(name for name in turn.contender.tables if name.startswith("orders"))
        row = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a name of our own
    if row is None or row[0] < answered:
        raise BenchmarkError(f"{turn.contender.name} answered {answered} orders and stored {row}")


def insert_rows(stage: Stage, contender: Contender, *, rows: int = 1) -> list[Figure]:
    """Insert rows of orders only, without events and wake-ups, with pgbench; `rows` per transaction."""
    connections = BATCH_CONNECTIONS if rows > 1 else stage.options.connections
    with stage.turn(contender, exchange=False):
        command = [str(installed_programs() / "pgbench"), "-n", "-M", "prepared", "-c", str(connections), "-j", str(wrk.THREADS)]
        command += ["-D", f"account={contender.accounts[0]}", "-D", f"count={rows}", "-T", str(round(stage.options.seconds))]
        command += ["-f", str(wrk.SCRIPTS / "insert_orders.sql"), stage.database_url(contender.database)]
        return transactions(run(command, within_s=stage.options.seconds + 60), rows)


def transactions(output: str, rows: int) -> list[Figure]:
    """Parse pgbench's report, for `rows` rows per transaction. Raises BenchmarkError."""
    rate, latency = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE), re.search(r"latency average = ([\d.]+)", output)
    if rate is None or latency is None:
        raise BenchmarkError(f"pgbench says {output[-200:]!r}")
    return [Figure("accepted", float(rate[1]) * rows, "orders/s"), Figure("mean", float(latency[1]), "ms")]


def while_placing(stage: Stage, contender: Contender) -> list[Figure]:
    return accept(stage, contender, *(name for name in (WORKERS, "sweep") if name in contender.services))


ONE = Measure(
    "accept",
    "POST /orders",
    "32 connections of wrk, one account; answered after the durable commit. Nothing places orders meanwhile, except in the "
    "original brief's design, which always does.",
    {OURS: accept, **dict.fromkeys(PEERS, accept), PGBENCH: insert_rows},
)
MANY_ACCOUNTS = Measure(
    "accept_many_accounts",
    "POST /orders for 100 accounts",
    "The same, with the tokens of 100 accounts in turn.",
    {OURS: partial(accept, accounts=100)},
)
WHILE_PLACING = Measure(
    "accept_while_placing",
    "POST /orders while orders are placed",
    "The same, while the workers place orders on the same two cores: a contender that places more has less left for accepting.",
    {OURS: while_placing, **dict.fromkeys([name for name in PEERS if name != SEED], while_placing)},
)
BATCHES = Measure(
    "batch",
    f"POST /orders/batch of {BATCH}",
    f"{BATCH_CONNECTIONS} connections. The peers have no such call.",
    {OURS: partial(accept, batch=BATCH), PGBENCH: partial(insert_rows, rows=BATCH)},
)


def as_limit(contender: Contender) -> Contender:
    """PostgreSQL with our table and indexes, but without our code."""
    return replace(contender, name=PGBENCH)
