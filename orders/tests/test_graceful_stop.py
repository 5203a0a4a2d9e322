"""SIGTERM in the middle of work: what is under way is finished, nothing is lost, and the exit code is 0 within bounded time."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from django_q.models import OrmQ

from orders.models import Order, OrderEvent
from orders.states import OPEN_EXECUTION, Status
from orders.tests.following import assert_equal_to_the_book
from orders.tests.on_kafka import published
from testsupport.database import database_url
from testsupport.placement import run_loop
from testsupport.simulator_process import SimulatorProcess
from testsupport.transport_plugin import Transport
from testsupport.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]
CHECKOUT = Path(__file__).parents[2]
# As long as one call of the exchange may take, and some time to start to stop. Supervisors kill after 12 s.
BOUND_S = 10.0
LATENCY_S = 3.0


@pytest.fixture
def start(tmp_path: Path, simulator: SimulatorProcess) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a command of manage.py on the database of the test; none outlives it."""
    started: list[subprocess.Popen[str]] = []

    def start_one(name: str) -> "subprocess.Popen[str]":
        environment = os.environ | {"DATABASE_URL": database_url(), "EXCHANGE_URL": simulator.url, "DATA_DIR": str(tmp_path)}
        process = subprocess.Popen([sys.executable, "manage.py", name], cwd=CHECKOUT, env=environment, text=True)
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def stop(process: "subprocess.Popen[Any]") -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND_S) == 0


def test_workers_finish_what_they_are_sending(
    transport: Transport, simulator: SimulatorProcess, accept: Accept, start: Callable[..., Any]
) -> None:
    simulator.control(latency=LATENCY_S)
    workers = start("run_exchange_consumer" if transport.is_kafka else "qcluster")
    orders = [accept() for _ in range(30)]
    # Without the sweep; a wake-up may be lost while the cluster starts.
    wait_until(lambda: len(simulator.book()) == len(orders), within_s=30)
    assert Order.objects.filter(status=Status.PENDING).exists()

    stop(workers)

    assert {(order.status, order.claimed_until) for order in Order.objects.all()} == {(Status.COMPLETED, None)}
    assert {order["times_received"] for order in simulator.book().values()} == {1}


def test_orders_that_nobody_has_begun_to_send_are_left_to_the_next_worker(
    transport: Transport, simulator: SimulatorProcess, accept: Accept, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACEMENT_CONCURRENCY", "2")
    simulator.control(latency=LATENCY_S)
    workers = start("run_exchange_consumer" if transport.is_kafka else "qcluster")
    orders = [accept() for _ in range(30)]
    wait_until(simulator.book, within_s=30)

    stop(workers)

    left = Order.objects.filter(status=Status.PENDING)
    assert left.count() == len(orders) - Order.objects.filter(status=Status.COMPLETED).count() > 0
    assert {(order.claimed_until, order.may_be_at_exchange) for order in left} == {(None, False)}
    simulator.control(latency=0)
    run_loop(simulator.url)
    assert {order.status for order in Order.objects.all()} == {Status.COMPLETED}
    assert {order["times_received"] for order in simulator.book().values()} == {1}


def is_known_fill_by_fill() -> bool:
    """Whether every order has ended, and nothing is counted of which only a look-up has told."""
    return not Order.objects.filter(Q(execution_status__in=OPEN_EXECUTION) | Q(looked_up_quantity__gt=0)).exists()


def test_followers_of_the_feed_stop_between_two_reports_and_miss_none(
    transport: Transport, simulator: SimulatorProcess, accept: Accept, start: Callable[..., Any]
) -> None:
    def trade(count: int) -> None:
        for _ in range(count):
            accept()
        run_loop(simulator.url)

    names = ["run_update_consumer", *(["run_update_recorder"] if transport.is_kafka else [])]
    followers = [start(name) for name in names]
    trade(20)
    # From a report, and not from a look-up.
    wait_until(lambda: OrderEvent.objects.filter(data__has_key="last_quantity").exists(), within_s=60)
    trade(100)
    for follower in followers:
        stop(follower)
    trade(1)
    assert not is_known_fill_by_fill(), "something is left to their successors"

    for name in names:
        start(name)
    wait_until(is_known_fill_by_fill, within_s=60)
    assert_equal_to_the_book(simulator)


@pytest.mark.usefixtures("kafka")
def test_the_relay_stops_between_two_pages_and_its_successor_misses_no_event(accept: Accept, start: Callable[..., Any]) -> None:
    relay = start("run_outbox_relay")
    for _ in range(300):
        accept()
    wait_until(published, within_s=30)

    stop(relay)
    accept()
    stored = set(OrderEvent.objects.values_list("event_id", flat=True))
    assert not stored <= set(published()), "something is left to its successor"
    start("run_outbox_relay")

    wait_until(lambda: set(published()) >= stored, within_s=30)


def waits_for_events() -> bool:
    """Whether another connection waits until it may write to the table of events."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND relation = 'orders_orderevent'::regclass AND NOT granted)"
        )
        return bool(cursor.fetchone()[0])


def test_the_sweep_stops_after_the_round_that_it_is_in(accept: Accept, start: Callable[..., Any]) -> None:
    overdue, due = accept(), accept()
    Order.objects.filter(id=overdue.id).update(give_up_at=timezone.now())
    OrmQ.objects.all().delete()
    with transaction.atomic():
        # The round comes as far as the event of the order that it gives up.
        connection.cursor().execute("LOCK TABLE orders_orderevent IN SHARE MODE")
        sweep = start("run_sweep")
        wait_until(waits_for_events, within_s=30)
        sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(BOUND_S) == 0
    assert Order.objects.get(id=overdue.id).status == Status.FAILED
    assert Order.objects.get(id=due.id).status == Status.PENDING
    assert OrmQ.objects.count() == 1, "the round goes on to wake workers for the order that is due"
