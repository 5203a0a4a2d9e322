"""Measures memory, counting shared pages in proportion."""

from pathlib import Path

import psutil


def proportional_bytes(process: psutil.Process) -> int:
    """PSS of a process and its descendants (proc(5), smaps_rollup): a page that n processes share counts as 1/n for each."""
    return sum(pss_bytes(each.pid) for each in [process, *process.children(recursive=True)])


def pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (ProcessLookupError, FileNotFoundError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
