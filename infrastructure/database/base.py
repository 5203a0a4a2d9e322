"""Django's PostgreSQL backend, made to cope with a server that dies or hangs.

A server that hangs, or that a network cuts off silently, leaves its connections open: neither TCP nor PostgreSQL's own
timeouts end a wait for its answer. psycopg can, and this module tells it when.
"""

import select
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, wraps
from itertools import count
from time import monotonic
from typing import Any, ParamSpec, TypeVar, cast

import psycopg
import structlog
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.postgresql import base, operations
from psycopg import generators, waiting

from infrastructure.database.breaker import database_breaker
from infrastructure.database.errors import ErrorWrapper, StalePlan, TransactionUndone
from infrastructure.database.parameters import connection_parameters
from infrastructure.database.unavailable import one_line

P = ParamSpec("P")
T = TypeVar("T")
log = structlog.get_logger()

# How often to try a transaction that the server rolls back because of others.
TRANSACTION_TRIES = 3


@dataclass
class QueryBudget:
    """How long one statement may take to be answered, and whether one took longer."""

    limit_s: float
    is_over: bool = False

    def consume(self, waited_s: float) -> None:
        """Time spent waiting for a batch counts against the request's own limit; a little always remains."""
        self.limit_s = max(self.limit_s - waited_s, LEAST_S)


# Enough for a healthy database.
LEAST_S = 0.25
# Early enough that the result is known when the first requests give up: a new connection may take 2 s (connect_timeout).
SUSPECT_AFTER_S = 0.3
CANCEL_S = 2.0
_query_budget: ContextVar[QueryBudget | None] = ContextVar("query_budget", default=None)


@contextmanager
def query_timeout(limit_s: float) -> Iterator[None]:
    """A statement in this block that is not answered in time raises DatabaseUnavailable; all later ones raise it at once.

    The limit is for each statement and not for the block, so that a busy process of ours is not mistaken for an unavailable
    database.
    """
    token = _query_budget.set(QueryBudget(limit_s))
    try:
        yield
    finally:
        _query_budget.reset(token)


def each_within_query_timeout(limit_s: float, parts: Iterable[T]) -> Iterator[T]:
    """Yield `parts`, with a query timeout for making each of them: for a response that is streamed while it is read."""
    remaining = iter(parts)
    while True:
        with query_timeout(limit_s):
            try:
                part = next(remaining)
            except StopIteration:
                return
        yield part


def query_budget() -> QueryBudget | None:
    """The current request's, if there is one."""
    return _query_budget.get()


class PunctualConnection(psycopg.Connection[Any]):
    """Closes itself when an answer does not come in time."""

    @classmethod
    def connect(cls, *args: Any, **options: Any) -> Any:
        own = _query_budget.get()
        if own is not None and (own.is_over or database_breaker.is_open):
            raise psycopg.OperationalError("the database has not answered before")
        try:
            return super().connect(*args, **options)
        except psycopg.errors.ConnectionTimeout:
            if own is not None:
                own.is_over = database_breaker.is_open = True
                database_breaker.suspect(connection_parameters())
            raise

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        own = _query_budget.get()
        if own is None:
            return super().wait(gen, *args, **options)
        if database_breaker.is_open:
            own.is_over = True
            raise psycopg.OperationalError("the database has not answered other requests")
        try:
            answer = self.wait_suspiciously(gen, own.limit_s, *args, **options)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - it is what `wait` is documented to raise
            own.is_over = True
            self.give_up_statement()
            raise psycopg.OperationalError(f"the database did not answer within {own.limit_s:g} s") from error
        database_breaker.is_open = False
        return answer

    def wait_suspiciously(self, gen: Any, limit_s: float, *args: Any, **options: Any) -> Any:
        """Wait for the answer; while waiting, find out whether the server hangs, on behalf of all requests queued behind."""
        started = monotonic()
        try:
            return super().wait(gen, *args, **options | {"timeout": min(SUSPECT_AFTER_S, limit_s)})
        except psycopg.errors._WaitTimeout:  # noqa: SLF001
            database_breaker.suspect(connection_parameters())
        return super().wait(gen, *args, **options | {"timeout": max(0.0, limit_s - (monotonic() - started))})

    def give_up_statement(self) -> None:
        """Cancel the statement at the server, and close: a late answer would be mistaken for the next statement's."""
        cancel = self.pgconn.cancel_conn()
        self.close()
        # A server that hangs does not answer this either, so it is not waited for.
        threading.Thread(target=end_statement, args=[cancel], name="cancel", daemon=True).start()

    def was_closed_by_server(self) -> bool:
        """Whether an idle connection is no longer usable, without a round trip: the server has sent something unasked."""
        if self.closed:
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))


def end_statement(cancel: psycopg.pq.abc.PGcancelConn) -> None:
    """Without `cancel.blocking()`, which would hold the interpreter's lock and block every thread."""
    try:
        cancel.start()
        waiting.wait_conn(generators.cancel(cancel), timeout=CANCEL_S)
    except psycopg.OperationalError as error:
        log.warning("statement_not_canceled", error=one_line(error))
    finally:
        cancel.finish()


class PreparedCursor(base.ServerBindingCursor):
    """Sends parameters separately from the text, so that the server parses and plans each text once per connection."""

    def execute(self, query: Any, params: Any = None) -> Any:
        return super().execute(query, params, prepare=True)  # type: ignore[misc]


class DatabaseOperations(operations.DatabaseOperations):
    def last_executed_query(self, cursor: Any, sql: Any, params: Any) -> Any:
        """For the query log: psycopg does not keep the text of a prepared statement."""
        is_prepared = isinstance(cursor, PreparedCursor)
        return self.compose_sql(sql, params) if is_prepared else super().last_executed_query(cursor, sql, params)


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations
    # Django wants a DB-API module; a connection class has all of it that Django uses (PEP 249, optional extensions).
    Database = PunctualConnection  # type: ignore[assignment]

    @cached_property
    def wrap_database_errors(self) -> ErrorWrapper:
        return ErrorWrapper(self)

    def init_connection_state(self) -> None:
        super().init_connection_state()
        # Always set, so that no limit of the role or the server ends a backup or a migration by accident.
        self.connection.execute(f"SET statement_timeout = '{settings.STATEMENT_TIMEOUT:g}s'")

    def give_up_connection(self) -> None:
        """Keep the connection only until the end of the transaction or request: its server is of no use to us."""
        self.close_at = 0.0

    def close_if_unusable_or_obsolete(self) -> None:
        """Called before and after each request, which would otherwise fail on a dead connection long after the server is back."""
        if self.connection is not None and not self.in_atomic_block and self.connection.was_closed_by_server():
            self.close()
        super().close_if_unusable_or_obsolete()

    def run_prepared(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        self.close_if_health_check_failed()
        self.ensure_connection()
        # The stubs lack `_prepare_cursor`, and what psycopg's cursor is made with.
        with self._prepare_cursor(PreparedCursor(self.connection)) as cursor:  # type: ignore[attr-defined, call-arg]
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []


def run_prepared(statement: str, parameters: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement that runs often and whose best plan does not depend on its parameters.

    When a table was altered since it was prepared, it runs again on a new connection, unless inside a transaction.
    """
    database = cast("DatabaseWrapper", connections[DEFAULT_DB_ALIAS])
    try:
        return database.run_prepared(statement, parameters)
    except StalePlan:
        if database.in_atomic_block:
            raise
        database.close()
        return database.run_prepared(statement, parameters)


def is_read_only() -> bool:
    """Whether the server accepts no changes: a standby, or one taken out of service. Raises DatabaseUnavailable."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        return bool(cursor.fetchone() == ("on",))


def in_transaction(work: Callable[P, T]) -> Callable[P, T]:
    """Run the function in a transaction, and repeat it a few times when the server rolls it back (a deadlock, say).

    Raises TransactionUndone in the end, and at once inside another transaction, which is the one to repeat.
    """

    @wraps(work)
    def repeated(*args: P.args, **options: P.kwargs) -> T:
        database = connections[DEFAULT_DB_ALIAS]
        tries = 1 if database.in_atomic_block else TRANSACTION_TRIES
        for number in count(1):
            try:
                with transaction.atomic():
                    return work(*args, **options)
            except TransactionUndone as error:
                if number == tries:
                    raise
                log.info("transaction_repeated", doing=work.__name__, error=one_line(error))
                if isinstance(error, StalePlan):
                    database.close()
        raise AssertionError("count() ends never")

    return repeated
