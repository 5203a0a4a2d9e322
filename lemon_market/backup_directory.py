"""The backups in BACKUP_DIR: how many are kept, and how old the newest is.

No backup is removed for its age: if backups stopped, the last good ones would be removed too.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from django.utils import timezone

from lemon_market.backup import UNFINISHED, BackupError, make_backup

# The names sort by the time at which the backups were begun.
NAME = "lemon-market-%Y-%m-%dT%H%M%SZ.dump"


def add_backup(directory: Path, keep: int | None) -> Path:
    """Make a backup and then, unless `keep` is None, remove all but the newest `keep`. Raises BackupError."""
    with only_one_at_a_time(directory):
        path = directory / timezone.now().strftime(NAME)
        make_backup(path)
        try:
            # A killed backup leaves this file, under a name that is not used again.
            for leftover in directory.glob(f"lemon-market-*{UNFINISHED}"):
                leftover.unlink()
            # The new backup is not the newest by name if our clock was set back.
            older = [one for one in backups(directory) if one != path]
            for one in older[keep - 1 :] if keep is not None else []:
                one.unlink()
        except OSError as error:
            raise BackupError(f"{path} was made, but older ones cannot be removed: {error.strerror}") from error
    return path


def backups(directory: Path) -> list[Path]:
    """Backups made by `add_backup`, newest first; all other files are ignored. Raises OSError."""
    return sorted((path for path in directory.iterdir() if begun_at(path) is not None), reverse=True)


def newest_age_s(directory: Path) -> float | None:
    """Seconds since the newest backup was begun, the most that would be lost; None without backups. Raises OSError."""
    begun = next(iter(map(begun_at, backups(directory))), None)
    return None if begun is None else max(0.0, (timezone.now() - begun).total_seconds())


def begun_at(path: Path) -> datetime | None:
    try:
        return datetime.strptime(path.name, NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


@contextmanager
def only_one_at_a_time(directory: Path) -> Iterator[None]:
    try:
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise BackupError(f"{directory} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"another backup is being made in {directory}") from None
        yield
    finally:
        os.close(lock)
