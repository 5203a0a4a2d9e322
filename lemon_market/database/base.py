"""Django's PostgreSQL backend, made to live with a server that dies or hangs.

A server that hangs, or is behind a network that swallows packets, leaves its connections open: neither TCP nor
PostgreSQL's own timeouts end a wait for its answer. psycopg can, and this is where it is told when.
"""

import select
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any

import psycopg
from django.db.backends.postgresql import base


@dataclass
class Patience:
    """How long the answer to one statement may take, and whether one took longer."""

    limit_s: float
    is_over: bool = False


_patience: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def answers_within(limit_s: float) -> Iterator[None]:
    """A statement inside of this block that is not answered in time raises OperationalError, and all after it do so at once.

    The limit is for each statement and not for the block, so that a busy process of ours is not taken for a database
    that is away.
    """
    token = _patience.set(Patience(limit_s))
    try:
        yield
    finally:
        _patience.reset(token)


class PunctualConnection(psycopg.Connection[Any]):
    """Closes itself when its answer does not come in time."""

    @classmethod
    def connect(cls, *args: Any, **options: Any) -> Any:
        patience = _patience.get()
        if patience is not None and patience.is_over:
            raise psycopg.OperationalError("the database has not answered this request before")
        return super().connect(*args, **options)

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        patience = _patience.get()
        if patience is None:
            return super().wait(gen, *args, **options)
        started = monotonic()
        try:
            return super().wait(gen, *args, **options | {"timeout": patience.limit_s})
        except psycopg.OperationalError as error:
            if monotonic() - started < patience.limit_s:
                raise
            patience.is_over = True
            # A late answer would be taken for that to the next statement.
            self.close()
            raise psycopg.OperationalError(f"the database did not answer within {patience.limit_s:g} s") from error

    def was_closed_by_server(self) -> bool:
        """Whether an idle connection is of no use any more, without a question to the server: it has something to read."""
        if self.closed:
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))


class DatabaseWrapper(base.DatabaseWrapper):
    # Django wants a DB-API module; a connection class has all that it uses of it (PEP 249, optional extensions).
    Database = PunctualConnection  # type: ignore[assignment]

    def close_if_unusable_or_obsolete(self) -> None:
        """Before and after each request: one that met a dead connection would fail after the server is long back."""
        if self.connection is not None and not self.in_atomic_block and self.connection.was_closed_by_server():
            self.close()
        super().close_if_unusable_or_obsolete()
