"""The log files of the servers that we start: PostgreSQL's and Kafka's."""

import os
from pathlib import Path

MAX_LOG = 1024 * 1024


def open_log(log: Path) -> int:
    """Open a log for appending, readable by its owner only; rename one that is too long to `log.1` first. Raises OSError."""
    if log.exists() and log.stat().st_size > MAX_LOG:
        log.replace(log.with_name(log.name + ".1"))
    return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
