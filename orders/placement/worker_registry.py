"""The processes that place orders as seen by the sweep: where they are, and how to replace them when they are frozen.

Each is an empty file in DATA_DIR/workers, named by its process id and the time of its start: a cluster's parent, or an exchange
consumer. The name is all, since a disk that is full still takes a name. Files with other names are not ours.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import structlog
from django.conf import settings

NAME = re.compile(r"(?P<pid>[0-9]{1,9})-(?P<started>[0-9]{1,12}\.[0-9]{1,9})")
log = structlog.get_logger()


def process_files() -> Path:
    return Path(settings.DATA_DIR) / "workers"


def register_this_process() -> None:
    """Called by each when it starts. Its start time tells it from a later process with the same number.

    Without the file it places orders all the same; only the sweep cannot replace it when it is frozen.
    """
    process = psutil.Process(os.getpid())
    path = process_files() / f"{process.pid}-{process.create_time():.2f}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        log.warning("worker_not_registered", error=str(error))


def kill_registered_processes() -> int:
    """Kill every registered process of this machine with all its children; returns how many of them there were.

    Their supervisor starts new ones. SIGKILL, because a frozen process does not answer anything else.
    """
    parents = list(registered_processes())
    tree = list(parents)
    for parent in parents:
        try:
            tree += parent.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    for process in tree:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(tree, timeout=5)
    return len(parents)


def registered_processes() -> Iterator[psutil.Process]:
    """Those that still run; the files of others are removed."""
    for path in process_files().glob("*"):
        name = NAME.fullmatch(path.name)
        if name is None or not path.is_file():
            continue
        try:
            process = psutil.Process(int(name["pid"]))
            if abs(process.create_time() - float(name["started"])) <= 1.0:
                yield process
                continue
        except psutil.NoSuchProcess:
            pass
        path.unlink(missing_ok=True)
