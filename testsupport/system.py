import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from devstack import local_install
from devstack.free_ports import free_port
from testsupport.installation import CHECKOUT, Installation
from testsupport.waiting import wait_until

# The account that the watching client sees.
WATCHED = "demo"
INSTRUMENTS = ["AAPL_2025_03"] * 17 + ["TIMEOUT_____", "PARTIAL_____", "REFUSE______"]


@contextmanager
def running_system(directory: Path, transport: str, **settings: str) -> Iterator["System"]:
    """Start an installation with everything that it needs, Kafka included; stop it at the end of the block."""
    installation = Installation(directory)
    installation.environment |= settings
    if transport == "kafka":
        installation.environment |= {"ORDER_TRANSPORT": "kafka", "KAFKA_PORT": str(free_port())}
    installation.ensure_up()
    try:
        yield System(installation, directory, transport)
    finally:
        installation.stop()


class System:
    """A running installation with a client that posts orders and one that watches them."""

    def __init__(self, installation: Installation, directory: Path, transport: str) -> None:
        self.installation = installation
        self.transport = transport
        self.seen = directory / "seen"
        self.said = directory / "said"

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run a client that sees every event from the beginning of the block to its end."""
        command = [sys.executable, "manage.py", "watch_orders", "--json"]
        with self.seen.open("wb") as seen, self.said.open("wb") as said:
            watching = subprocess.Popen(command, cwd=CHECKOUT, env=self.installation.environment, stdout=seen, stderr=said)
        try:
            is_connected = f"connected as {WATCHED}"
            wait_until(lambda: is_connected in self.said.read_text(), within_s=120, what="the client is connected")
            yield
        finally:
            watching.terminate()
            watching.wait(60)

    def manage(self, *words: str) -> str:
        """Run one of the project's commands to its end; return what it prints."""
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=self.installation.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def token(self, account: str = WATCHED) -> str:
        """Create a token, and the account if it does not exist."""
        return self.manage("create_token", account, "--create")

    def seen_event_ids(self) -> list[str]:
        lines = self.seen.read_text().splitlines()
        return [message["event_id"] for line in lines if "event_id" in (message := json.loads(line))]

    def post(self, number: int) -> None:
        """Post an order again and again until it is answered, which is harmless with the same client_order_id."""
        order = {"type": "market", "side": "buy", "quantity": 10, "client_order_id": f"c{number}"}
        body = json.dumps(order | {"instrument": INSTRUMENTS[number % len(INSTRUMENTS)]}).encode()
        url = f"http://127.0.0.1:{self.installation.port}/orders"

        def answered() -> bool:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status in (200, 202)
            except OSError:
                return False

        wait_until(answered, within_s=60, what=f"order {number} is accepted")

    def kill(self, name: str) -> None:
        """Kill the oldest process of that name, and wait for its successor."""
        [victim, *_] = self.installation.pids(name)
        psutil.Process(victim).send_signal(SIGKILL)
        wait_until(lambda: set(self.installation.pids(name)) - {victim}, within_s=30, what=f"{name} is back")

    @property
    def database_url(self) -> str:
        return local_install.load(self.installation.data_dir).postgres_url

    def query(self, statement: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.database_url, row_factory=dict_row) as database:
            return database.execute(statement).fetchall()

    def book(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.installation.environment['EXCHANGE_PORT']}/book"
        # All orders may be settled before the exchange is back, which was killed as well.
        wait_until(lambda: is_reachable(url), within_s=30, what="the exchange is back")
        with urllib.request.urlopen(url, timeout=10) as lines:
            return {order["client_order_id"]: order for order in map(json.loads, lines)}

    def is_settled(self) -> bool:
        """Whether nothing is due, and only those orders are open that the exchange leaves open."""
        try:
            [row] = self.query(
                "SELECT count(*) FROM orders_order WHERE next_attempt_at IS NOT NULL OR look_up_at IS NOT NULL"
                " OR execution_status = 'new' OR (execution_status = 'partially_filled' AND instrument <> 'PARTIAL_____')"
            )
        except psycopg.OperationalError:
            return False
        return bool(row["count"] == 0)


def is_reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False
