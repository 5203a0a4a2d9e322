"""The registry of the processes that place orders, by which the sweep finds and replaces frozen ones.

Each process, a cluster's parent or an exchange consumer, has an empty file in DATA_DIR/workers, named by its process id and
start time. Everything is in the name because even a full disk can take an empty file. Files with other names are ignored.
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
    """Register this process at its start. The start time tells it from a later process with the same process id.

    Without the file the process still places orders, but the sweep cannot replace it when it is frozen.
    """
    process = psutil.Process(os.getpid())
    path = process_files() / f"{process.pid}-{process.create_time():.2f}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        log.warning("worker_not_registered", error=str(error))


def kill_registered_processes() -> int:
    """Kill every registered process of this machine and all its children. Return how many processes were registered.

    Their supervisor starts new ones. SIGKILL is needed because a frozen process does not react to other signals.
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
    """Yield the processes that still run, and remove the files of the others."""
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
