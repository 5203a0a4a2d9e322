"""SIGTERM in the middle of work: what is under way is finished, nothing is lost, and the exit code is 0 within bounded time."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from exchange.testing import SimulatorProcess
from orders.kafka.topics import EXECUTIONS, ORDER_UPDATES
from orders.models import Order, OrderEvent
from orders.states import OPEN_EXECUTION, Status
from orders.tests.on_kafka import all_messages, committed_offsets
from testsupport.database import database_url
from testsupport.placement import run_loop
from testsupport.transport_plugin import Transport
from testsupport.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]
CHECKOUT = Path(__file__).parents[2]
# As long as one call of the exchange may take, and some time to start to stop. Supervisors kill after 12 s.
BOUND_S = 10.0
LATENCY_S = 1.0


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
    monkeypatch.setenv("PLACEMENT_WINDOW", "2")
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


def is_settled() -> bool:
    return not Order.objects.filter(execution_status__in=OPEN_EXECUTION).exists()


def has_recorded() -> bool:
    return committed_offsets(EXECUTIONS) > 0


def test_followers_of_the_feed_stop_between_two_reports_and_miss_none(
    transport: Transport, simulator: SimulatorProcess, accept: Accept, start: Callable[..., Any]
) -> None:
    names = ["run_update_consumer", *(["run_update_recorder"] if transport.is_kafka else [])]
    followers = [start(name) for name in names]
    for _ in range(100):
        accept()
    run_loop(simulator.url)
    wait_until(lambda: OrderEvent.objects.filter(type="partially_filled").exists() or is_settled(), within_s=30)
    if transport.is_kafka:
        # Look-ups may settle everything before the recorder is up.
        wait_until(has_recorded, within_s=30)

    for follower in followers:
        stop(follower)

    for name in names:
        start(name)
    wait_until(is_settled, within_s=30)
    book = simulator.book()
    for order in Order.objects.all():
        assert order.filled_quantity == book[str(order.id)]["filled_quantity"]
        if order.looked_up_quantity == 0:
            fills = order.events.filter(data__has_key="last_quantity").values_list("data", flat=True)
            assert sum(data["last_quantity"] for data in fills) == order.filled_quantity


@pytest.mark.usefixtures("kafka")
def test_the_relay_stops_between_two_pages_and_its_successor_misses_no_event(accept: Accept, start: Callable[..., Any]) -> None:
    relay = start("run_outbox_relay")
    for _ in range(300):
        accept()
    wait_until(lambda: len(all_messages(ORDER_UPDATES)) > 0, within_s=30)

    stop(relay)
    accept()
    start("run_outbox_relay")

    expected = {str(id) for id in Order.objects.values_list("id", flat=True)}
    wait_until(lambda: {message.key for message in all_messages(ORDER_UPDATES)} >= expected, within_s=30)


def test_the_sweep_stops_after_the_round_that_it_is_in(accept: Accept, start: Callable[..., Any]) -> None:
    order = accept()
    Order.objects.filter(id=order.id).update(give_up_at=timezone.now())
    sweep = start("run_sweep")
    wait_until(lambda: Order.objects.get(id=order.id).status == Status.FAILED, within_s=30)
    stop(sweep)
