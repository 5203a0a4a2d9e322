from collections.abc import Iterator
from time import perf_counter

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from infrastructure.database.base import is_read_only, query_timeout
from infrastructure.database.clock import read_clock
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from lemon_market.doctor.finding import Finding, bad, judged, ok, results
from orders.operations import system_status
from orders.operations.restore import is_renumbering_needed

OLDEST_VERSION = 140_000
LONG_TRANSACTION_S, VERY_LONG_TRANSACTION_S = 60, 600
STATE = """
    SELECT pg_database_size(current_database()),
           (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float FROM pg_stat_activity
             WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid())"""


def check_database() -> Iterator[Finding]:
    try:
        with query_timeout(settings.DATABASE_TIMEOUT_ADMIN):
            yield from examine_database()
    except DatabaseUnavailable as error:
        reason = one_line(error)
        yield bad(
            "database", f"is not available: {reason}", "Start it, or correct DATABASE_URL. Until then no orders are accepted."
        )


def examine_database() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        started = perf_counter()
        cursor.execute(STATE)
        took_s = perf_counter() - started
        [(size, transaction_s)] = cursor.fetchall()
    version: int = connection.pg_version  # type: ignore[attr-defined]  # PostgreSQL's backend has it
    text = f"PostgreSQL {version // 10_000}.{version % 10_000}, {size / 1e9:.2f} GB, answers in {took_s * 1000:.0f} ms"
    if version < OLDEST_VERSION:
        yield bad("database", text, "PostgreSQL 14 or newer is needed.")
    elif is_read_only():
        yield bad("database", f"{text}, read-only", "It accepts no changes: point DATABASE_URL to the primary.")
    else:
        yield judged("database", took_s, text, "Check its load and its disk.", warn_above=0.2, bad_above=2.0)
    yield from results("migrations", migrations)
    yield from results("clock of the database", lambda: clock(-read_clock().offset_s))
    yield from results("connections", connections)
    yield judged(
        "transactions",
        transaction_s,
        f"the oldest has been open for {transaction_s:.0f} s",
        "Find it in pg_stat_activity and end it: it keeps old rows from being removed, and blocks migrations.",
        warn_above=LONG_TRANSACTION_S,
        bad_above=VERY_LONG_TRANSACTION_S,
    )


def migrations() -> Finding:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        return bad("migrations", f"{len(missing)} not applied", "Run manage.py migrate.")
    if is_renumbering_needed():
        return bad("migrations", "the database was restored but not prepared", "Stop everything and run manage.py after_restore.")
    return ok("migrations", "all are applied")


def clock(difference_s: float) -> Finding:
    return judged(
        "clock of the database",
        abs(difference_s),
        f"{difference_s:+.2f} s from ours",
        "Synchronize both machines with a time server (NTP). Beyond EXCHANGE_CLOCK_MARGIN this one places and accepts no orders.",
        warn_above=0.5,
        bad_above=settings.EXCHANGE_CLOCK_MARGIN,
    )


def connections() -> Iterator[Finding]:
    found = system_status.connections()
    share = found.all / found.most
    text = f"{found.all} of {found.most}"
    advice = "Raise max_connections, or run fewer processes: each web thread keeps one connection."
    yield judged("connections", share, text, advice, warn_above=0.8, bad_above=0.95)
