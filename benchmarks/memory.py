"""Memory as a share of what processes have in common."""

from pathlib import Path

import psutil


def proportional_bytes(process: psutil.Process) -> int:
    """PSS of a process and of all below it (proc(5), smaps_rollup): a page that n processes share counts as 1/n."""
    return sum(pss_bytes(each.pid) for each in [process, *process.children(recursive=True)])


def pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (ProcessLookupError, FileNotFoundError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
