"""Counts what an operation costs the database, without timing: statements, round trips, rows, and plans of its queries."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from psycopg.pq import Trace

# Tests run inside a transaction of their own, where a savepoint stands for each BEGIN and its release for each COMMIT.
READ_OR_WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
ROWS = """
SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0), n_tup_ins, n_tup_upd, n_tup_del
FROM pg_stat_xact_user_tables
"""


@dataclass
class Cost:
    """`round_trips` to the server, each a wait, and rows by table, without tables that were not touched."""

    round_trips: int = 0
    statements: list[str] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    inserted: dict[str, int] = field(default_factory=dict)
    updated: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)

    @property
    def queries(self) -> int:
        return sum(statement.startswith(READ_OR_WRITE) for statement in self.statements)


@contextmanager
def counted() -> Iterator[Cost]:
    """Count what happens inside the block, on this thread's connection."""
    cost = Cost()
    check_foreign_keys()
    before = rows_touched()
    with tempfile.TemporaryFile("w+") as trace, CaptureQueriesContext(connection) as captured:
        pgconn = connection.connection.pgconn
        pgconn.trace(trace.fileno())
        pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield cost
        finally:
            pgconn.untrace()
        check_foreign_keys()
        trace.seek(0)
        # Other lines continue statements of several lines.
        cost.round_trips = round_trips([line[0] for line in trace if line.startswith(("F\t", "B\t"))])
    cost.statements = [query["sql"].strip() for query in captured.captured_queries]
    after = rows_touched()
    kinds = (cost.read, cost.inserted, cost.updated, cost.deleted)
    for number, kind in enumerate(kinds):
        for table, counts in after.items():
            if difference := counts[number] - before.get(table, (0, 0, 0, 0))[number]:
                kind[table] = difference


def check_foreign_keys() -> None:
    """Check foreign keys now: it would happen at the commit, which a test's transaction never reaches."""
    with connection.connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def round_trips(directions: list[str]) -> int:
    """How often F(rontend) speaks first or after B(ackend)."""
    return sum(now == "F" and before != "F" for before, now in zip(["", *directions], directions, strict=False))


def rows_touched() -> dict[str, tuple[int, ...]]:
    """Rows read, inserted, updated and deleted by this transaction, including those read to check constraints."""
    with connection.connection.cursor() as cursor:
        return {table: tuple(counts) for table, *counts in cursor.execute(ROWS)}


@dataclass(frozen=True)
class Scan:
    """One node of a plan that reads a table: how, by which indexes, and how many rows it looked at in all."""

    table: str
    kind: str
    indexes: frozenset[str]
    rows: int


def scans(operation: Callable[[], object]) -> list[Scan]:
    """The scans that PostgreSQL makes for each statement of the operation, whose changes are rolled back."""
    with CaptureQueriesContext(connection) as captured:
        undone(operation)
    statements = [query["sql"].strip() for query in captured.captured_queries]
    statements = [statement for statement in statements if statement.startswith(READ_OR_WRITE)]
    assert statements, "the operation runs no statement"
    found: list[Scan] = []
    for statement in statements:
        if not statement.startswith("INSERT"):
            undone(partial(explain_into, found, statement))
    return found


def undone(operation: Callable[[], object]) -> None:
    with transaction.atomic():
        operation()
        transaction.set_rollback(True)


def explain_into(found: list[Scan], statement: str) -> None:
    """Run the statement, and add the scans of its plan to `found`."""
    with connection.connection.cursor() as cursor:
        [(plans,)] = cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement)
        found += scans_of(plans[0]["Plan"])


def scans_of(node: dict[str, Any]) -> list[Scan]:
    """All nodes of a plan that read tables."""
    found = []
    if "Relation Name" in node and node["Node Type"] != "ModifyTable":
        rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        found.append(Scan(node["Relation Name"], node["Node Type"], indexes_of(node), round(rows)))
    return found + [scan for below in node.get("Plans", []) for scan in scans_of(below)]


def indexes_of(node: dict[str, Any]) -> frozenset[str]:
    """The indexes that a node reads; those of a bitmap scan are in the nodes below."""
    if "Index Name" in node:
        return frozenset([node["Index Name"]])
    bitmaps = [below for below in node.get("Plans", []) if below["Node Type"].startswith("Bitmap")]
    return frozenset(name for below in bitmaps for name in indexes_of(below))
