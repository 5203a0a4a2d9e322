"""One node of a real Kafka under a test's control."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from devstack.free_ports import free_port
from testsupport.installation import CHECKOUT
from testsupport.waiting import wait_until

START_S = 60.0


class KafkaBroker:
    """`python -m devstack.embedded_kafka` on free ports; restarts keep the client port and the data."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        """As in KAFKA_BOOTSTRAP_SERVERS."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "devstack.embedded_kafka", str(self.directory), str(self.port)]
        self._process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (self.directory / "kafka" / "log").read_text()
            try:
                return bool(admin.list_topics(timeout=1).brokers)
            except KafkaException:
                return False

        wait_until(answers, within_s=START_S, what="the broker answers")

    def ensure_running(self) -> None:
        """Start it if it is down, as after a test that failed while it was."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        assert self._process is not None
        self.signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()


def given_servers() -> str:
    """An external cluster for the tests to use instead of their own; empty if there is none."""
    return os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
