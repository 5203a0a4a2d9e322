"""The simulated exchange's append-only journal: one JSON list per line.

A write reaches the operating system before anything is answered, so that a SIGKILL at any moment loses nothing that a
client was told. It is not forced to disk: a simulator need not survive a crash of its machine.
"""

import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import orjson

from exchange.simulator.book import Change


class JournalError(Exception):
    """The journal cannot be used: another process has it, or a line in its middle cannot be read."""


class Journal:
    """An open journal, locked for this process."""

    def __init__(self, directory: Path) -> None:
        """Open or create a directory's journal. Raises JournalError when another process has it, and OSError as open does."""
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "journal.jsonl"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise JournalError(f"{self._path} is in use by another exchange simulator") from error

    def replay(self, apply: Callable[[Change], object]) -> None:
        """Pass every change to `apply`, oldest first; remove a last line that a sudden end left incomplete.

        Raises JournalError when any other line cannot be read or applied.
        """
        good_bytes = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    apply(orjson.loads(line))
                except (ValueError, TypeError, KeyError, IndexError) as error:
                    if lines.read(1):
                        raise JournalError(f"{self._path}: line {number} cannot be read: {error}") from error
                    break
                good_bytes += len(line)
        os.ftruncate(self._file, good_bytes)

    def append(self, changes: Iterable[Change]) -> None:
        """Write changes in one piece. Raises OSError, after which the journal must not be written to again."""
        data = memoryview(b"".join([orjson.dumps(change, option=orjson.OPT_APPEND_NEWLINE) for change in changes]))
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Close the file, which also releases the lock."""
        os.close(self._file)
