"""The restore drill of docs/operations.md: the database is lost, and comes back from a backup made under load."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devstack import embedded_kafka, local_install
from testsupport.installation import CHECKOUT
from testsupport.system import System, running_system
from testsupport.transport_plugin import BOTH
from testsupport.waiting import wait_until

# Orders that are taken when the backup is finished.
AFTERWARDS = 20
# Numbers of transactions that a new server reaches only after this test is over.
TRANSACTIONS_USED = 5_000


@pytest.fixture(params=BOTH)
def system(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    """Kafka, where it is used, is not lost with the database: it goes on from where it was."""
    if request.param == "kafka" and not embedded_kafka.is_available():
        pytest.skip(embedded_kafka.HOW_TO_GET_IT)
    with running_system(tmp_path, request.param) as system:
        yield system


def manage(system: System, *words: str, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=CHECKOUT,
        env=system.installation.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stderr + done.stdout
    return done.stdout


def use_up_transactions(system: System) -> None:
    url = local_install.load(system.installation.data_dir).postgres_url
    with psycopg.connect(url, autocommit=True) as database:
        for _ in range(TRANSACTIONS_USED):
            database.execute("SELECT pg_current_xact_id()")


def ids(system: System) -> set[str]:
    return {str(row["id"]) for row in system.query("SELECT id FROM orders_order")}


def all_are_settled(system: System) -> bool:
    return system.is_settled() and all(order["status"] != "new" for order in system.book().values())


@pytest.mark.alone
def test_a_backup_made_under_load_comes_back_and_nothing_is_doubled(system: System, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    use_up_transactions(system)
    with ThreadPoolExecutor(1) as pool:
        backing_up = pool.submit(manage, system, "backup", str(backup))
        numbers = itertools.count()
        while not backing_up.done():
            system.post(next(numbers))
        backing_up.result()
        for number in itertools.islice(numbers, AFTERWARDS):
            system.post(number)
    # The exchange goes on, and so do the orders, of which the backup knows nothing.
    wait_until(lambda: all_are_settled(system), within_s=60, what="every order is settled")
    before = system.book()
    accepted = ids(system)
    system.installation.stop()

    shutil.rmtree(system.installation.data_dir / "postgres" / "data")
    assert "Trading is halted" in manage(system, "restore", str(backup))
    system.installation.ensure_up()
    restored = ids(system)
    assert restored < accepted
    lost_at_exchange = before.keys() - restored
    assert lost_at_exchange

    def lost_are_reported() -> bool:
        rows = system.query("SELECT raw FROM orders_deadletter")
        return {json.loads(row["raw"])["client_order_id"] for row in rows} == lost_at_exchange

    wait_until(lost_are_reported, within_s=60, what="reports of lost orders are dead letters")
    wait_until(lambda: no_look_up_is_due(system), within_s=60, what="open orders are looked up")
    report = json.loads(manage(system, "reconcile", "--apply", "--json", expect=1))
    assert report["not_ours"].keys() == lost_at_exchange
    assert all(difference["can_be_mended"] for difference in report["differences"])
    assert json.loads(manage(system, "reconcile", "--json", expect=1))["differences"] == []
    # Nothing was sent, neither what is there already nor anything new.
    assert times_received(system.book()) == times_received(before)
    assert_restored_orders_equal_the_book(system, lost_at_exchange)

    manage(system, "resume_trading", "--reason", "compared")
    wait_until(lambda: all_are_settled(system), within_s=60, what="what had never been sent is placed")
    after = system.book()
    assert {id: count for id, count in times_received(after).items() if id in before} == times_received(before)
    assert after.keys() - before.keys() <= restored
    assert_restored_orders_equal_the_book(system, lost_at_exchange)


def no_look_up_is_due(system: System) -> bool:
    return system.query("SELECT id FROM orders_order WHERE may_be_at_exchange") == []


def times_received(book: dict[str, Any]) -> dict[str, int]:
    return {id: order["times_received"] for id, order in book.items()}


def assert_restored_orders_equal_the_book(system: System, lost: set[str]) -> None:
    book = {id: order for id, order in system.book().items() if id not in lost}
    completed = {str(row["id"]): row for row in system.query("SELECT * FROM orders_order WHERE status = 'completed'")}
    assert completed.keys() == book.keys()
    for id, order in completed.items():
        price = book[id]["average_price"]
        ours = order["execution_status"], order["filled_quantity"], order["average_price"]
        assert ours == (book[id]["status"], book[id]["filled_quantity"], price and Decimal(price))
