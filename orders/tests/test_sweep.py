"""The sweep: lost wake-ups, orders whose time is over, workers that are frozen or dead."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.utils import timezone
from django_q.models import OrmQ

from orders.models import Order, PlacementWorker
from orders.placement.attempts import claim_due_orders
from orders.placement.sweep import Sweep
from orders.placement.worker_registry import registered_processes
from orders.placement.worker_state import own_host, own_name
from orders.risk.switches import halt_trading, resume_trading
from orders.states import Status
from testsupport.database import database_url
from testsupport.placement import POLICY, let_time_pass
from testsupport.simulator_process import SimulatorProcess
from testsupport.transport_plugin import Transport
from testsupport.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
# Sentinel, pusher, monitor and two workers.
CLUSTER_CHILDREN = 5
Accept = Callable[..., Order]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def data_dir(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def test_a_lost_wake_up_is_made_good(accept: Accept) -> None:
    accept()
    OrmQ.objects.all().delete()
    Sweep().run_once()
    assert OrmQ.objects.count() == 1


def test_no_wake_up_is_made_while_nothing_is_due(accept: Accept) -> None:
    accept()
    claim_due_orders(1, POLICY)
    OrmQ.objects.all().delete()
    Sweep().run_once()
    assert OrmQ.objects.count() == 0


def test_wake_ups_do_not_pile_up_while_nobody_takes_them(accept: Accept) -> None:
    accept()
    sweep = Sweep()
    for _ in range(10):
        sweep.run_once()
    assert OrmQ.objects.count() == 2, "one for each worker"


def test_an_expired_lease_is_work_again(accept: Accept) -> None:
    accept()
    claim_due_orders(1, POLICY)
    OrmQ.objects.all().delete()
    let_time_pass(61)
    Sweep().run_once()
    assert OrmQ.objects.count() == 1


def test_orders_whose_time_is_over_are_settled_without_any_worker(accept: Accept) -> None:
    order = accept()
    let_time_pass(901)
    Sweep().run_once()
    order.refresh_from_db()
    assert order.status == Status.FAILED


def test_a_live_claim_is_not_settled_under_the_worker(accept: Accept) -> None:
    order = accept()
    let_time_pass(880)
    claim_due_orders(1, POLICY)
    let_time_pass(30)
    Sweep().run_once()
    order.refresh_from_db()
    assert order.status == Status.PENDING


def test_workers_that_make_progress_are_left_alone(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[bool] = []
    monkeypatch.setattr("orders.placement.sweep.kill_registered_processes", lambda: killed.append(True))
    clock = Clock()
    sweep = Sweep(stalled_after_s=10, clock=clock)
    for _ in range(5):
        accept()
    for _ in range(5):
        sweep.run_once()
        clock.now += 9
        claim_due_orders(1, POLICY)
    assert killed == []


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each time that the sweep replaced the workers."""
    killed: list[bool] = []
    monkeypatch.setattr("orders.placement.sweep.kill_registered_processes", lambda: killed.append(True))
    return killed


def watch_for(sweep: Sweep, clock: Clock, seconds: float) -> None:
    sweep.run_once()
    clock.now += seconds
    sweep.run_once()


@pytest.mark.parametrize(
    ("name", "problem", "paused_s", "said_ago_s", "is_replaced"),
    [
        ("elsewhere:1 qcluster", "the exchange accepts nothing", 300, 0, False),
        ("elsewhere:1 qcluster", "the exchange accepts nothing", 300, 11, True),
        (f"{own_host()}:1 qcluster", "its clock is wrong", None, 0, False),
        ("elsewhere:1 qcluster", "its clock is wrong", None, 0, True),
        ("elsewhere:1 qcluster", None, None, 0, True),
    ],
    ids=["outage", "outage of workers that froze since", "clock of this machine", "clock of another", "no reason"],
)
def test_workers_that_say_why_they_take_nothing_are_left_alone(
    accept: Accept,
    killed: list[bool],
    name: str,
    problem: str | None,
    paused_s: float | None,
    said_ago_s: float,
    is_replaced: bool,
) -> None:
    accept()
    now = timezone.now()
    PlacementWorker.objects.create(
        name=name,
        said_at=now - timedelta(seconds=said_ago_s),
        problem=problem,
        paused_until=None if paused_s is None else now + timedelta(seconds=paused_s),
    )
    clock = Clock()
    sweep = Sweep(stalled_after_s=10, clock=clock)
    watch_for(sweep, clock, 11)
    assert bool(killed) is is_replaced


def test_a_sweep_whose_own_clock_is_wrong_replaces_nobody_and_says_so(
    accept: Accept, killed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept()
    clock = Clock()
    sweep = Sweep(stalled_after_s=10, clock=clock)
    ahead = timedelta(hours=1)
    right_now = timezone.now
    with monkeypatch.context() as patched:
        patched.setattr("django.utils.timezone.now", lambda: right_now() + ahead)
        watch_for(sweep, clock, 11)
    assert killed == []
    problem = PlacementWorker.objects.get().problem
    assert problem is not None
    assert problem.endswith("ahead of the database's: it replaces no workers")
    watch_for(sweep, clock, 9)
    assert killed == [], "the workers get the same time anew"
    watch_for(sweep, clock, 11)
    assert killed == [True]
    assert PlacementWorker.objects.get().problem is None


def test_workers_that_are_gone_are_forgotten(db: None) -> None:
    for name, minutes in (("a:1 qcluster", 59), ("a:2 qcluster", 61)):
        PlacementWorker.objects.create(name=name, said_at=timezone.now() - timedelta(minutes=minutes))
    Sweep().run_once()
    assert set(PlacementWorker.objects.values_list("name", flat=True)) == {"a:1 qcluster", own_name()}


@pytest.fixture
def start_workers(data_dir: Path, simulator: SimulatorProcess, transport: Transport) -> Iterator[Callable[[], psutil.Process]]:
    command, children = ("run_exchange_consumer", 0) if transport.is_kafka else ("qcluster", CLUSTER_CHILDREN)
    environment = os.environ | {"DATABASE_URL": database_url(), "EXCHANGE_URL": simulator.url, "DATA_DIR": str(data_dir)}
    started: list[subprocess.Popen[bytes]] = []

    def start() -> psutil.Process:
        started.append(subprocess.Popen([sys.executable, "manage.py", command], env=environment, start_new_session=True))
        parent = psutil.Process(started[-1].pid)
        wait_until(lambda: parent in list(registered_processes()) and len(parent.children(recursive=True)) >= children)
        return parent

    yield start
    for process in started:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def test_workers_place_orders_and_stop_cleanly(
    accept: Accept, simulator: SimulatorProcess, start_workers: Callable[[], psutil.Process]
) -> None:
    parent = start_workers()
    children = parent.children(recursive=True)
    orders = [accept() for _ in range(10)]
    wait_until(lambda: Order.objects.filter(status=Status.COMPLETED).count() == 10)
    assert {simulator.book()[str(order.id)]["times_received"] for order in orders} == {1}
    parent.terminate()
    _, alive = psutil.wait_procs([parent, *children], timeout=15)
    assert alive == []


def test_workers_place_nothing_during_a_halt_and_everything_once_after_it(
    accept: Accept, simulator: SimulatorProcess, start_workers: Callable[[], psutil.Process]
) -> None:
    orders = [accept() for _ in range(10)]
    halt_trading("dora", "odd prices")
    start_workers()
    sweep = Sweep()

    def everything_is_held() -> bool:
        sweep.run_once()
        return Order.objects.filter(held_at__isnull=False).count() == 10

    wait_until(everything_is_held)
    assert simulator.book() == {}
    resume_trading("dora", "explained")
    sweep.run_once()
    wait_until(lambda: Order.objects.filter(status=Status.COMPLETED).count() == 10)
    assert {simulator.book()[str(order.id)]["times_received"] for order in orders} == {1}


def test_frozen_workers_are_killed_with_all_their_processes_and_their_successor_goes_on(
    accept: Accept, start_workers: Callable[[], psutil.Process]
) -> None:
    parent = start_workers()
    tree = [parent, *parent.children(recursive=True)]
    for process in tree:
        process.suspend()
    accept()
    clock = Clock()
    sweep = Sweep(stalled_after_s=10, clock=clock)
    sweep.run_once()
    clock.now = 9.0
    sweep.run_once()
    assert parent.is_running()
    clock.now = 11.0
    sweep.run_once()
    _, alive = psutil.wait_procs(tree, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    start_workers()
    wait_until(lambda: Order.objects.get().status == Status.COMPLETED)


@pytest.mark.parametrize("transport", ["django_q"], indirect=True)
def test_no_child_outlives_a_killed_parent(start_workers: Callable[[], psutil.Process]) -> None:
    parent = start_workers()
    children = parent.children(recursive=True)
    parent.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


@pytest.mark.parametrize(("exchange_timeout_s", "stalled_after_s"), [(5.0, 10.0), (15.0, 20.0)])
def test_workers_that_wait_for_a_slow_exchange_have_longer_than_one_call(
    settings: Any, exchange_timeout_s: float, stalled_after_s: float
) -> None:
    settings.EXCHANGE_TIMEOUT = exchange_timeout_s
    assert Sweep().stalled_after_s == stalled_after_s
