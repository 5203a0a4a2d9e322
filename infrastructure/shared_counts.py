"""The files in which the web processes of one server keep their counts, so that each of them can report the sum.

prometheus_client maps one file per process into memory. Writing to a mapped file when the disk is full ends the process
(SIGBUS), so all the space that it can ever need is allocated before the file is used.

Each process uses the first file that no other has locked, and the kernel drops a lock with its process. A new process thus
continues with the file of one that has ended: the sum never falls, and there are never more files than there were processes
at once.
"""

import fcntl
import os
import re
import shutil
import struct
from pathlib import Path

import psutil
from django.conf import settings
from prometheus_client.multiprocess import MultiProcessCollector

NAME = re.compile(r"histogram_[0-9]{1,9}\.db")
PROCESS_ID = re.compile(r"[0-9]{1,9}")
# Enough for both calls with every HTTP status.
ROOM_BYTES = 512 * 1024


def directory() -> Path:
    """The directory of this server, named after our parent process unless PROMETHEUS_MULTIPROC_DIR is set."""
    named = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(named) if named else settings.DATA_DIR / "counts" / str(os.getppid())


def remove_those_of_ended_servers() -> None:
    """Remove directories named after processes that have ended; those with other names are not ours."""
    for path in (settings.DATA_DIR / "counts").glob("*"):
        if PROCESS_ID.fullmatch(path.name) and not psutil.pid_exists(int(path.name)):
            shutil.rmtree(path, ignore_errors=True)


def open_file(directory: Path) -> int:
    """Take a file for this process for as long as it runs, and return its number. Raises OSError, as when the disk is full."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = 1
    while not take(directory / f"histogram_{number}.db"):
        number += 1
    return number


def take(path: Path) -> bool:
    """Try to lock the file and allocate its space; return whether it is ours. It stays open to keep the lock. Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_readable(path):
            os.ftruncate(handle, 0)
        os.posix_fallocate(handle, 0, ROOM_BYTES)
    except BlockingIOError:
        os.close(handle)
        return False
    except OSError:
        os.close(handle)
        raise
    return True


def readable_files(directory: Path) -> list[str]:
    return [str(path) for path in directory.glob("*") if NAME.fullmatch(path.name) and is_readable(path)]


def is_readable(path: Path) -> bool:
    """Whether the file holds counts: False if it was only just made, or was damaged when the machine crashed."""
    try:
        MultiProcessCollector.merge([str(path)])  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RuntimeError, struct.error):
        return False
    return True
