"""The cluster's process as seen by the sweep: where it is, and how to replace it when it is frozen."""

import json
import os
from pathlib import Path

import psutil
from django.conf import settings


def process_file() -> Path:
    return Path(settings.DATA_DIR) / "workers.json"


def register_this_process() -> None:
    """Called by the cluster's parent. A process is named by its number and start time, for numbers are used again."""
    process = psutil.Process(os.getpid())
    path = process_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"pid": process.pid, "started": process.create_time()}))
    new.replace(path)


def kill_registered_process() -> bool:
    """Kill the cluster's whole process tree, so that its supervisor starts a new one; False when it is not on this machine.

    SIGKILL, because a frozen cluster does not answer anything else.
    """
    try:
        registered = json.loads(process_file().read_text())
        parent = psutil.Process(registered["pid"])
        if abs(parent.create_time() - registered["started"]) > 1.0:
            return False
        tree = [*parent.children(recursive=True), parent]
    except (FileNotFoundError, json.JSONDecodeError, psutil.NoSuchProcess):
        return False
    for process in tree:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(tree, timeout=5)
    return True
