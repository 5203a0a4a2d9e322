"""Everything that `make run` starts, under load, while its processes are killed one after the other."""

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from lemon_market import embedded_kafka, local_install
from lemon_market.tests.installation import CHECKOUT, Installation
from lemon_market.tests.kafka_broker import free_port_pair
from lemon_market.tests.transport_plugin import BOTH
from lemon_market.tests.waiting import wait_until

# More of them for a longer trial: `SYSTEM_TEST_ORDERS=5000`.
ORDERS = int(os.environ.get("SYSTEM_TEST_ORDERS", "300"))
LIMIT_S = 170 + ORDERS // 10
# Part of each command line; PostgreSQL's is its data directory. Each is killed as often as it stands here, the oldest first.
FOUNDATION = ["run_update_consumer", "run_notification_service", "postgres -D", "run_sweep", "granian", "run_exchange_simulator"]
KILLED = {
    "django_q": [*FOUNDATION, "qcluster"],
    "kafka": [*FOUNDATION, *["run_exchange_consumer"] * 2, *["run_update_recorder"] * 2, "run_outbox_relay", "kafka.Kafka"],
}
INSTRUMENTS = ["AAPL_2025_03"] * 17 + ["TIMEOUT_____", "PARTIAL_____", "REFUSE______"]


class System:
    """A running installation with a client that posts orders and one that watches them."""

    def __init__(self, installation: Installation, directory: Path, transport: str) -> None:
        self.installation = installation
        self.transport = transport
        self.seen = directory / "seen"
        self.said = directory / "said"

    def watch(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "manage.py", "watch_orders", "--json"]
        with self.seen.open("wb") as seen, self.said.open("wb") as said:
            watching = subprocess.Popen(command, cwd=CHECKOUT, env=self.installation.environment, stdout=seen, stderr=said)
        wait_until(lambda: "connected as demo" in self.said.read_text(), within_s=30, what="the client is connected")
        return watching

    def seen_event_ids(self) -> list[str]:
        lines = self.seen.read_text().splitlines()
        return [message["event_id"] for line in lines if "event_id" in (message := json.loads(line))]

    def post(self, number: int) -> None:
        """Until it is answered: with one client_order_id that does no harm."""
        order = {"type": "market", "side": "buy", "quantity": 10, "client_order_id": f"c{number}"}
        body = json.dumps(order | {"instrument": INSTRUMENTS[number % len(INSTRUMENTS)]}).encode()
        url = f"http://127.0.0.1:{self.installation.port}/orders"

        def answered() -> bool:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http it is
                    return answer.status in (200, 202)
            except OSError:
                return False

        wait_until(answered, within_s=60, what=f"order {number} is taken")

    def kill(self, name: str) -> None:
        """Kill the oldest process of that name, and wait until it has a successor."""
        [victim, *_] = self.installation.pids(name)
        psutil.Process(victim).send_signal(SIGKILL)
        wait_until(lambda: set(self.installation.pids(name)) - {victim}, within_s=30, what=f"{name} is back")

    def query(self, statement: str) -> list[dict[str, Any]]:
        url = local_install.load(self.installation.data_dir).postgres_url
        with psycopg.connect(url, row_factory=dict_row) as database:
            return database.execute(statement).fetchall()

    def book(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.installation.environment['EXCHANGE_PORT']}/book"
        with urllib.request.urlopen(url, timeout=10) as lines:
            return {order["client_order_id"]: order for order in map(json.loads, lines)}

    def is_settled(self) -> bool:
        """Nothing is due, and only what the exchange leaves open is open."""
        try:
            [row] = self.query(
                "SELECT count(*) FROM orders_order WHERE next_attempt_at IS NOT NULL"
                " OR execution_status = 'new' OR (execution_status = 'partially_filled' AND instrument <> 'PARTIAL_____')"
            )
        except psycopg.OperationalError:
            return False
        return bool(row["count"] == 0)


@pytest.fixture(params=BOTH)
def system(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    """It starts all that it needs itself, Kafka included."""
    installation = Installation(tmp_path)
    if request.param == "kafka":
        if not embedded_kafka.is_available():
            pytest.skip(embedded_kafka.HOW_TO_GET_IT)
        installation.environment |= {"ORDER_TRANSPORT": "kafka", "KAFKA_PORT": str(free_port_pair())}
    installation.ensure_up()
    yield System(installation, tmp_path, request.param)
    assert installation.up is not None
    installation.up.terminate()
    installation.up.wait(30)


@pytest.mark.timeout(LIMIT_S)
def test_nothing_is_lost_or_doubled_while_every_process_is_killed_once(system: System) -> None:
    watching = system.watch()
    with ThreadPoolExecutor(2) as pool:
        posting = [pool.submit(system.post, number) for number in range(ORDERS)]
        for name in KILLED[system.transport]:
            system.kill(name)
        for one in posting:
            one.result()
    wait_until(system.is_settled, within_s=LIMIT_S / 2, what="every order is settled")
    assert_orders_equal_the_book(system)
    assert_every_event_is_there_once(system)
    expected = {row["event_id"] for row in system.query("SELECT event_id FROM orders_orderevent")}
    wait_until(lambda: expected <= set(system.seen_event_ids()), within_s=30, what="the client has seen every event")
    watching.terminate()
    watching.wait(10)


def assert_orders_equal_the_book(system: System) -> None:
    orders = system.query("SELECT * FROM orders_order")
    book = system.book()
    assert len(orders) == ORDERS
    assert Counter(order["status"] for order in orders if order["instrument"] == "REFUSE______").keys() == {"failed"}
    completed = {str(order["id"]): order for order in orders if order["status"] == "completed"}
    assert completed.keys() == book.keys()
    assert len(completed) == ORDERS * 19 // 20
    for id, order in completed.items():
        price = book[id]["average_price"]
        ours = order["execution_status"], order["filled_quantity"], order["average_price"]
        assert ours == (book[id]["status"], book[id]["filled_quantity"], price and Decimal(price))


def assert_every_event_is_there_once(system: System) -> None:
    placed = system.query("SELECT order_id FROM orders_orderevent WHERE type = 'placed'")
    assert len(placed) == len({row["order_id"] for row in placed}) == ORDERS * 19 // 20
    # A total that came from a look-up has a `reconciled` event instead of some of its fills.
    wrong = system.query(
        "SELECT o.id FROM orders_order o JOIN orders_orderevent e ON e.order_id = o.id"
        " WHERE o.reconciled_session IS NULL AND o.status = 'completed'"
        " GROUP BY o.id HAVING sum(coalesce((e.data ->> 'last_quantity')::int, 0)) <> o.filled_quantity"
    )
    assert wrong == []
