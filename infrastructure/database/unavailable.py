"""What is said of a database that cannot be reached."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

from infrastructure.database.errors import DatabaseUnavailable


def one_line(error: Exception) -> str:
    """PostgreSQL explains itself in several lines, and a log has one for each."""
    return " ".join(str(error).split())


@contextmanager
def database_needed() -> Iterator[None]:
    """For a command of manage.py. Raises CommandError, one line, when the database cannot be reached."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise CommandError(f"The database is not available: {one_line(error)}") from error
