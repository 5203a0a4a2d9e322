"""The processes of a benchmark: each in its own process group, with its output in a file, and none left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from infrastructure.process_signals import STOP_SIGNALS, die_with_parent

CHECKOUT = Path(__file__).resolve().parents[1]
STOP_S = 15.0
START_S = 45.0
POLL_S = 0.02


class BenchmarkError(Exception):
    """A benchmark cannot be run; the message is one line."""


class Children:
    """Starts processes, and on exit stops all of them, the last one first."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: list[tuple[str, subprocess.Popen[str]]] = []

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: dict[str, str] | None = None,
        cwd: Path = CHECKOUT,
        *,
        is_heard: bool = False,
    ) -> "subprocess.Popen[str]":
        """Start a process with its output in a log file; with `is_heard` its standard output and input are pipes instead."""
        self.logs.mkdir(parents=True, exist_ok=True)
        parent = os.getpid()
        with (self.logs / f"{name}.log").open("a") as log:
            child = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE if is_heard else subprocess.DEVNULL,
                stdout=subprocess.PIPE if is_heard else log,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for us.
                preexec_fn=lambda: die_with_parent(signal.SIGTERM, parent),  # noqa: PLW1509 - no other thread runs
            )
        self.running.append((name, child))
        return child

    def wait_for_port(self, port: int) -> None:
        """Wait until the port listens. Raises BenchmarkError when a process has ended, or it takes too long."""
        self.wait_until(lambda: is_listening(port), f"port {port} listens")

    def wait_until(self, condition: Callable[[], object], what: str, within_s: float = START_S) -> None:
        """Wait until the condition holds. Raises BenchmarkError when a process has ended, or it takes too long."""
        deadline = time.monotonic() + within_s
        while not condition():
            for name, child in self.running:
                if child.poll() is not None:
                    raise BenchmarkError(f"{name} ended with exit code {child.returncode}: see {self.logs / name}.log")
            if time.monotonic() > deadline:
                raise BenchmarkError(f"not within {within_s:.0f} s: {what}; see {self.logs}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop all processes: first the parent of each group, since a pool of workers stops cleanly only through it."""
        while self.running:
            _, child = self.running.pop()
            with suppress(ProcessLookupError):
                child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(STOP_S)
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def run(
    command: Sequence[str | Path], *, within_s: float, environment: dict[str, str] | None = None, cwd: Path = CHECKOUT
) -> str:
    """Run a program and return what it printed. Raises BenchmarkError when it fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchmarkError(str(error)) from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BenchmarkError(f"{' '.join(map(str, command[:4]))}: {reason}")
    return done.stdout


def stop_in_order() -> None:
    """Let signals and the time limit end this process through its `finally` clauses."""

    def leave(number: int, _frame: object) -> None:
        sys.stderr.write("\nStopping ...\n")
        # A second signal must not interrupt the shutdown.
        for other in (*STOP_SIGNALS, signal.SIGALRM):
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in (*STOP_SIGNALS, signal.SIGALRM):
        signal.signal(number, leave)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
