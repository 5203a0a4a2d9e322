"""Decides for the whole project what a database error means, by PostgreSQL's error code (SQLSTATE).

The backend raises these classes, and callers that can wait catch `DatabaseUnavailable`. All other errors are our bugs.
Source: PostgreSQL's documentation, appendix A, "PostgreSQL Error Codes".
"""

from types import TracebackType
from typing import Any

import psycopg
from django.db import DatabaseError, OperationalError
from django.db.utils import DatabaseErrorWrapper

# Connection exceptions, and insufficient resources (a full disk, no memory, too many connections).
UNAVAILABLE_CLASSES = {"08", "53"}
UNAVAILABLE = {
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    "57P05",  # idle_session_timeout
    "58030",  # io_error
    "25006",  # read_only_sql_transaction: a standby, or a server after a failover
    "25P03",  # idle_in_transaction_session_timeout
}
CONTENTION = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available
}
QUERY_CANCELED = "57014"
READ_ONLY = "25006"


class DatabaseUnavailable(OperationalError):
    """The server cannot be reached, or cannot do now what was asked of it. The same request may succeed later."""


class TransactionUndone(DatabaseUnavailable):
    """The server rolled the transaction back for a reason outside it: repeat it from the start."""


class StalePlan(TransactionUndone):
    """A prepared statement no longer returns the same columns, because a table was altered: use a new connection."""


class StatementTooSlow(DatabaseUnavailable):
    """A statement ran longer than `statement_timeout`, or was canceled."""


def meaning_of(error: psycopg.Error) -> type[DatabaseUnavailable] | None:
    """The class to raise the error as, or None when it is a bug."""
    code = error.sqlstate
    if code is None:
        # No code means no answer from the server: the connection is lost, or was never made.
        return DatabaseUnavailable if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else None
    if code[:2] in UNAVAILABLE_CLASSES or code in UNAVAILABLE:
        return DatabaseUnavailable
    if code in CONTENTION:
        return TransactionUndone
    if code == QUERY_CANCELED:
        return StatementTooSlow
    # "cached plan must not change result type" shares its code with everything that is not supported.
    if isinstance(error, psycopg.errors.FeatureNotSupported) and error.diag.source_function == "RevalidateCachedQuery":
        return StalePlan
    return None


class ErrorWrapper(DatabaseErrorWrapper):
    """Raises the class that `meaning_of` returns, or Django's own when there is none."""

    # The connection, set by the base class; the stubs lack it.
    wrapper: Any

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        meaning = meaning_of(error) if isinstance(error, psycopg.Error) else None
        if meaning is None:
            super().__exit__(exc_type, error, traceback)
            return
        assert isinstance(error, psycopg.Error)
        self.wrapper.errors_occurred = True
        if meaning is StalePlan or error.sqlstate == READ_ONLY:
            self.wrapper.give_up_connection()
        raise meaning(*error.args).with_traceback(traceback) from error


def violated_constraint(error: DatabaseError) -> str | None:
    """The name of the constraint that was violated, if any."""
    cause = error.__cause__
    return cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None


def is_unavailable(error: psycopg.Error) -> bool:
    """Whether an error means that the database is unavailable, for callers that use psycopg without Django."""
    return meaning_of(error) is not None
