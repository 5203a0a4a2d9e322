import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil

from devstack.free_ports import free_port
from testsupport.waiting import wait_until

CHECKOUT = Path(__file__).parents[1]
# Characters that a shell, a URL or supervisord might stumble over.
DATA_DIR = "50% of it's #1; data"
COMMAND = [sys.executable, "manage.py", "up"]


class Installation:
    """A trial installation, started as `make run` does, in its own directory and on its own ports."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / DATA_DIR
        self.output = directory / "output"
        self.port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in {"DEBUG", "HOST", "EXCHANGE_URL"}},
            # Set to empty, so that a file .env cannot set them either.
            "DATABASE_URL": "",
            "SECRET_KEY": "",
            "ORDER_TRANSPORT": "django_q",
            "KAFKA_BOOTSTRAP_SERVERS": "",
            "KAFKA_PREFIX": "",
            "DATA_DIR": str(self.data_dir),
            "ANONYMOUS_ACCOUNT": "demo",
            "WEB_PORT": str(self.port),
            "NOTIFICATIONS_PORT": str(free_port()),
            "EXCHANGE_PORT": str(free_port()),
        }
        self.up: subprocess.Popen[bytes] | None = None

    def ensure_up(self) -> None:
        """Start it unless it is already running, and wait until it accepts orders."""
        if self.up is None or self.up.poll() is not None:
            with self.output.open("wb") as output:
                self.up = subprocess.Popen(
                    COMMAND,
                    cwd=CHECKOUT,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
        try:
            wait_until(self.is_ready, within_s=150, what="ready")
        except AssertionError as error:
            # Nothing else would end it.
            self.stop()
            raise AssertionError(f"{error}; it says {self.output.read_text()}") from error

    def stop(self) -> None:
        """End it and everything that it started."""
        assert self.up is not None
        self.up.terminate()
        self.up.wait(60)

    def refusal(self, **changes: str) -> str:
        """Start it with `changes` that it refuses, and return its one-line error message."""
        environment = {**self.environment, **changes}
        answer = subprocess.run(COMMAND, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 1, answer.stderr
        assert answer.stdout == ""
        assert len(answer.stderr.splitlines()) == 1, answer.stderr
        return answer.stderr

    def is_ready(self) -> bool:
        """Whether the web process and its database answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def processes(self) -> dict[int, str]:
        """Command lines by process id, oldest first. PostgreSQL has none of our environment, but runs in the data directory."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("DATA_DIR") == str(self.data_dir) or str(self.data_dir) in process.cwd():
                    found.append((process.create_time(), process.pid, " ".join(process.cmdline())))
            except psutil.Error:
                continue
        return {pid: command for _, pid, command in sorted(found)}

    def pids(self, name: str) -> list[int]:
        """Process ids with `name` in their command line, oldest first."""
        return [pid for pid, command in self.processes().items() if name in command]
