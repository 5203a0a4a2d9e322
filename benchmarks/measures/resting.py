"""Measures the whole embedded system as `make run` starts it: how soon it is ready, and how much memory it needs at rest."""

import shutil
import sys
import time
from contextlib import suppress
from urllib.request import urlopen

import psutil

from benchmarks.children import Children, is_listening
from benchmarks.contenders import OURS, Contender
from benchmarks.figures import Figure
from benchmarks.measure import Measure
from benchmarks.memory import proportional_bytes
from benchmarks.stage import Stage
from devstack.free_ports import free_port

# Everything has started and settled by then.
REST_S = 10.0


def measure(stage: Stage, _contender: Contender) -> list[Figure]:
    """Start it twice: the first start creates the database, the second one finds it."""
    data_dir = stage.directory / "rest"
    shutil.rmtree(data_dir, ignore_errors=True)
    ports = {name: free_port() for name in ("WEB_PORT", "NOTIFICATIONS_PORT", "EXCHANGE_PORT")}
    environment = {name: str(port) for name, port in ports.items()} | {"DATA_DIR": str(data_dir), "ANONYMOUS_ACCOUNT": "demo"}
    environment |= dict.fromkeys(("DATABASE_URL", "SECRET_KEY", "EXCHANGE_URL"), "")
    took_s, memory = [], 0
    for _ in range(2):
        with Children(stage.directory / "logs" / "rest") as children:
            begun_at = time.monotonic()
            system = children.start("up", [sys.executable, "manage.py", "up"], environment)
            children.wait_until(
                lambda: is_ready(ports["WEB_PORT"]) and all(map(is_listening, ports.values())), "the system is ready"
            )
            took_s.append(time.monotonic() - begun_at)
            time.sleep(REST_S)
            memory = proportional_bytes(psutil.Process(system.pid))
    return [
        Figure("first start", took_s[0], "s"),
        Figure("second start", took_s[1], "s"),
        Figure("memory", memory / 2**20, "MiB"),
    ]


def is_ready(port: int) -> bool:
    with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2) as answer:
        return bool(answer.status == 200)
    return False


RESTING = Measure(
    "rest",
    "The whole embedded system at rest",
    "All processes of `manage.py up`, PostgreSQL and the simulated exchange included, 10 s after they are ready: summed PSS.",
    {OURS: measure},
)
