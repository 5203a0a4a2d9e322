"""Workers that are really killed, or really stopped, in the middle of a placement."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from django.db import connection
from django.utils import timezone

from orders.models import Order
from orders.retry_policy import PlacementPolicy
from orders.states import Status
from orders.tests.crashing_worker import KILL_POINTS
from testsupport.database import database_url
from testsupport.placement import IMPATIENT, POLICY, history, let_time_pass, one_round, run_loop
from testsupport.simulator_process import SimulatorProcess
from testsupport.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.simulator(shared=True)]
Accept = Callable[..., Order]


def start_worker(point: str, url: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orders.tests.crashing_worker", point, url],
        env=os.environ | {"DATABASE_URL": database_url()} | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def place_everything(url: str, policy: PlacementPolicy = POLICY) -> None:
    """What the sweep and the surviving workers do, with time flying; fails when they do not come to an end."""
    for _ in range(10):
        let_time_pass(61)
        one_round(url, policy)
        if not Order.objects.filter(next_attempt_at__isnull=False).exists():
            return
    pytest.fail(f"after ten rounds: {list(Order.objects.values('id', 'status', 'error_message'))}")


@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_worker_killed_at_any_point_neither_loses_nor_doubles_an_order(
    simulator: SimulatorProcess, accept: Accept, point: str
) -> None:
    orders = [accept() for _ in range(3)]
    with start_worker(point, simulator.url) as worker:
        assert worker.wait(30) == -signal.SIGKILL
    if point != "after_record":
        assert {(order.status, order.may_be_at_exchange) for order in Order.objects.all()} == {(Status.PENDING, True)}
    place_everything(simulator.url)
    book = simulator.book()
    for order in orders:
        order.refresh_from_db()
        assert order.status == Status.COMPLETED
        assert order.exchange_order_id == book[str(order.id)]["exchange_order_id"]
        assert book[str(order.id)]["times_received"] == 1
        assert history(order).count("placed") == 1


def test_a_worker_killed_while_it_waits_for_the_answer_leaves_an_order_that_is_looked_up(
    simulator: SimulatorProcess, accept: Accept
) -> None:
    order = accept(instrument="TIMEOUT_____")
    with start_worker("nowhere", simulator.url) as worker:
        wait_until(lambda: str(order.id) in simulator.book())
        worker.kill()
    place_everything(simulator.url)
    order.refresh_from_db()
    assert order.status == Status.COMPLETED
    assert simulator.book()[str(order.id)]["times_received"] == 1


def test_a_worker_stopped_before_its_send_and_continued_after_its_lease_sends_nothing(
    simulator: SimulatorProcess, accept: Accept
) -> None:
    order = accept()
    short = {"EXCHANGE_TIMEOUT": "0.2", "EXCHANGE_CLOCK_MARGIN": "0.1", "PLACEMENT_LEASE": "0.6"}
    with start_worker("frozen_before_send", simulator.url, **short) as worker:
        wait_until(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED)
        wait_until(lambda: Order.objects.filter(claimed_until__lt=timezone.now()).exists())
        # Another worker takes over: looked up, proved absent, sent.
        place_everything(simulator.url, IMPATIENT)
        worker.send_signal(signal.SIGCONT)
        assert worker.wait(30) == 0
    order.refresh_from_db()
    assert order.status == Status.COMPLETED
    assert history(order) == ["accepted", "retrying", "placed"]
    assert simulator.book()[str(order.id)]["times_received"] == 1


def test_answers_survive_a_database_that_drops_every_connection(simulator: SimulatorProcess, accept: Accept) -> None:
    orders = [accept() for _ in range(20)]
    simulator.control(latency=0.3)
    try:
        with ThreadPoolExecutor(1) as pool:
            loop = pool.submit(run_loop, simulator.url)
            wait_until(lambda: all(str(order.id) in simulator.book() for order in orders))
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                assert cursor.fetchone()[0] > 0
            loop.result()
    finally:
        simulator.control(latency=0)
    assert {order.status for order in Order.objects.all()} == {Status.COMPLETED}
    assert {simulator.book()[str(order.id)]["times_received"] for order in orders} == {1}
