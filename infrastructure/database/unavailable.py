"""What to tell users and logs about a database that cannot be reached."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

from infrastructure.database.errors import DatabaseUnavailable


def one_line(error: Exception) -> str:
    """The error's message on one line: PostgreSQL writes several, and a log entry has one."""
    return " ".join(str(error).split())


@contextmanager
def database_needed() -> Iterator[None]:
    """For a manage.py command: raise CommandError with a one-line message when the database cannot be reached."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise CommandError(f"The database is not available: {one_line(error)}") from error
