"""Everything that `make run` starts, under load, while its processes are killed one after the other."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from testsupport.system import System, running_system
from testsupport.transport_plugin import BOTH
from testsupport.waiting import wait_until

# More of them for a longer trial: `SYSTEM_TEST_ORDERS=5000`.
ORDERS = int(os.environ.get("SYSTEM_TEST_ORDERS", "300"))
LIMIT_S = 400 + ORDERS // 10
# Part of each command line; PostgreSQL's is its data directory. Each is killed as often as it stands here, the oldest first.
FOUNDATION = ["run_update_consumer", "run_notification_service", "postgres -D", "run_sweep", "granian", "run_exchange_simulator"]
KILLED = {
    "django_q": [*FOUNDATION, "qcluster"],
    "kafka": [*FOUNDATION, *["run_exchange_consumer"] * 2, *["run_update_recorder"] * 2, "run_outbox_relay", "kafka.Kafka"],
}


@pytest.fixture(params=BOTH)
def system(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    with running_system(tmp_path, request.param) as system:
        yield system


@pytest.mark.alone
@pytest.mark.timeout(LIMIT_S)
def test_nothing_is_lost_or_doubled_while_every_process_is_killed_once(system: System) -> None:
    with system.watched():
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
        wait_until(lambda: expected <= set(system.seen_event_ids()), within_s=90, what="the client has seen every event")


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
        " WHERE o.looked_up_quantity = 0 AND o.status = 'completed'"
        " GROUP BY o.id HAVING sum(coalesce((e.data ->> 'last_quantity')::int, 0)) <> o.filled_quantity"
    )
    assert wrong == []
