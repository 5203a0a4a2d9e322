"""The processes that place orders as seen by the sweep: where they are, and how to replace them when they are frozen.

Each is a file in DATA_DIR/workers, named by its process id: a cluster's parent, or an exchange consumer.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
from django.conf import settings


def process_files() -> Path:
    return Path(settings.DATA_DIR) / "workers"


def register_this_process() -> None:
    """Called by each when it starts. Its start time tells it from a later process with the same number."""
    process = psutil.Process(os.getpid())
    path = process_files() / f"{process.pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"started": process.create_time()}))
    new.replace(path)


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
    for path in process_files().glob("*.json"):
        try:
            process = psutil.Process(int(path.stem))
            if abs(process.create_time() - json.loads(path.read_text())["started"]) <= 1.0:
                yield process
                continue
        except (json.JSONDecodeError, psutil.NoSuchProcess, FileNotFoundError):
            pass
        path.unlink(missing_ok=True)
