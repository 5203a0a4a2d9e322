"""The follower of the feed, cut off, killed, frozen and confused by the exchange."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection

from exchange.http_gateway import HttpGateway
from infrastructure.database_thread import close_connection
from orders.models import DeadLetter, FeedPosition, Order, OrderEvent
from orders.placement.cancel import cancel_order
from orders.tests.following import (
    assert_equal_to_the_book,
    everything_is_settled,
    follow_until_settled,
    is_equal_to_the_book,
    new_consumer,
)
from orders.tests.restarting_exchange import restarting_exchange
from testsupport.database import database_url
from testsupport.placement import run_loop
from testsupport.simulator_process import SimulatorProcess
from testsupport.transport_plugin import Transport
from testsupport.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("transport")]
Accept = Callable[..., Order]


@pytest.fixture
def start_consumer(simulator: SimulatorProcess, transport: Transport) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    environment = os.environ | {"DATABASE_URL": database_url(), "EXCHANGE_URL": simulator.url}
    started: list[subprocess.Popen[bytes]] = []

    def start(command: str = "run_update_consumer") -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "manage.py", command], env=environment))
        return started[-1]

    if transport.is_kafka:
        start("run_update_recorder")
    yield start
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def test_orders_end_as_they_do_at_the_exchange(simulator: SimulatorProcess, accept: Accept) -> None:
    for instrument in ("AAPL_2025_03", "AAPL_2025_03", "PARTIAL_____", "NEVERFILL___"):
        accept(instrument=instrument)
    # One of the two is crossed at once, wherever the price begins.
    for side in ("buy", "sell"):
        accept(type="limit", side=side, limit_price=Decimal("250.50"), instrument="TSLA_2025_06")
    run_loop(simulator.url)
    market = Order.objects.exclude(instrument="TSLA_2025_06")
    follow_until_settled(
        simulator.url,
        lambda: (
            sorted(market.values_list("filled_quantity", flat=True)) == [0, 50, 100, 100]
            and Order.objects.filter(type="limit", execution_status="filled").exists()
        ),
    )
    simulator.kill()
    simulator.start()
    # The other limit order may still move.
    follow_until_settled(simulator.url, lambda: is_equal_to_the_book(simulator))


def test_reports_before_the_answer_of_the_placement_complete_the_orders(simulator: SimulatorProcess, accept: Accept) -> None:
    simulator.control(early_report_rate=1, repeat_rate=0.5, latency=0.2)
    for _ in range(20):
        accept()
    with ThreadPoolExecutor(1) as pool:
        placing = pool.submit(run_loop, simulator.url)
        follow_until_settled(
            simulator.url, lambda: Order.objects.filter(status="completed").count() == 20 and everything_is_settled()
        )
        placing.result()
    assert_equal_to_the_book(simulator)


def test_a_cut_feed_is_resumed_after_the_last_applied_report(
    simulator: SimulatorProcess, accept: Accept, start_consumer: Callable[[], subprocess.Popen[bytes]]
) -> None:
    start_consumer()
    # The first session that it meets is a new one, so it looks up what is open.
    wait_until(FeedPosition.objects.filter(look_up_open_at=None, look_up_open_after=None).exists)
    for _ in range(5):
        for _ in range(10):
            accept()
        run_loop(simulator.url)
        simulator.control(cut_feed=True)
    wait_until(everything_is_settled)
    assert_equal_to_the_book(simulator)
    assert not OrderEvent.objects.filter(type="reconciled").exists(), "nothing was missed, so nothing had to be looked up"


def test_a_consumer_killed_again_and_again_applies_every_report_once(
    simulator: SimulatorProcess, accept: Accept, start_consumer: Callable[[], subprocess.Popen[bytes]]
) -> None:
    simulator.control(repeat_rate=0.3)
    for _ in range(4):
        for _ in range(25):
            accept()
        before = FeedPosition.objects.values_list("sequence", flat=True).first() or 0
        consumer = start_consumer()
        run_loop(simulator.url)
        wait_until(lambda: (FeedPosition.objects.values_list("sequence", flat=True).first() or 0) > before)  # noqa: B023
        consumer.kill()
        consumer.wait()
    start_consumer()
    wait_until(everything_is_settled)
    assert_equal_to_the_book(simulator)
    assert DeadLetter.objects.count() == 0


def test_a_new_session_is_reconciled_by_looking_up_the_open_orders(simulator: SimulatorProcess, accept: Accept) -> None:
    follow_until_settled(simulator.url, FeedPosition.objects.filter(look_up_open_at=None, look_up_open_after=None).exists)
    open_order, filled = accept(instrument="NEVERFILL___"), accept()
    run_loop(simulator.url)
    follow_until_settled(simulator.url, lambda: Order.objects.filter(execution_status="filled").exists())
    nothing = {"filled_quantity": 0, "reported_quantity": 0, "filled_value": 0, "average_price": None}
    Order.objects.filter(id=filled.id).update(execution_status="new", **nothing)
    filled.events.filter(type__endswith="filled").delete()
    simulator.control(new_session=True)
    session_id = simulator.health()["session_id"]
    reconciled = FeedPosition.objects.filter(session_id=session_id, look_up_open_at=None, look_up_open_after=None)
    follow_until_settled(simulator.url, reconciled.exists)
    assert_equal_to_the_book(simulator)
    open_order.refresh_from_db()
    assert not open_order.events.filter(type="reconciled").exists()
    assert filled.events.filter(type="reconciled").count() == 1


@pytest.mark.simulator(retention=5)
def test_a_gap_beyond_the_retention_is_reconciled(simulator: SimulatorProcess, accept: Accept) -> None:
    accept()
    run_loop(simulator.url)
    follow_until_settled(simulator.url)
    for _ in range(20):
        accept()
    run_loop(simulator.url)
    wait_until(lambda: all(order["status"] == "filled" for order in simulator.book().values()))
    follow_until_settled(simulator.url)
    assert_equal_to_the_book(simulator)
    assert OrderEvent.objects.filter(type="reconciled").exists()


def test_a_position_beyond_the_end_of_the_feed_is_reconciled(simulator: SimulatorProcess, accept: Accept) -> None:
    accept()
    run_loop(simulator.url)
    follow_until_settled(simulator.url)
    FeedPosition.objects.update(sequence=1_000_000)
    accept()
    run_loop(simulator.url)

    def is_settled_and_has_moved_back() -> bool:
        # In this order: the orders are settled by a look-up, a moment before the position is stored.
        return everything_is_settled() and FeedPosition.objects.get().sequence <= simulator.health()["last_sequence"]

    follow_until_settled(simulator.url, is_settled_and_has_moved_back)
    assert_equal_to_the_book(simulator)


def test_a_second_consumer_waits_and_takes_over_when_the_first_dies(
    simulator: SimulatorProcess, accept: Accept, start_consumer: Callable[[], subprocess.Popen[bytes]]
) -> None:
    def lock_holders() -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                "WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted"
            )
            return [pid for (pid,) in cursor.fetchall()]

    first = start_consumer()
    holders = wait_until(lock_holders)
    second = start_consumer()
    accept()
    run_loop(simulator.url)
    wait_until(everything_is_settled)
    assert lock_holders() == holders
    assert second.poll() is None
    first.kill()
    first.wait()
    wait_until(lambda: (now := lock_holders()) and now != holders)
    accept()
    run_loop(simulator.url)
    wait_until(everything_is_settled)
    assert_equal_to_the_book(simulator)


def test_the_consumer_survives_a_database_that_drops_its_connections(
    simulator: SimulatorProcess, accept: Accept, start_consumer: Callable[[], subprocess.Popen[bytes]]
) -> None:
    consumer = start_consumer()
    for _ in range(3):
        for _ in range(10):
            accept()
        run_loop(simulator.url)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    wait_until(everything_is_settled)
    assert_equal_to_the_book(simulator)
    assert consumer.poll() is None
    consumer.terminate()
    assert consumer.wait(10) == 0


def test_who_has_lost_the_lock_does_not_go_on_beside_who_has_it(simulator: SimulatorProcess) -> None:
    """Also while the feed is quiet, and nothing but the connection shows it."""

    def backend() -> int:
        connection.ensure_connection()
        return int(connection.connection.info.backend_pid)

    def has_lock() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted)"
            )
            return bool(cursor.fetchone()[0])

    async def until_it_is_clear_who_is_active(consumers: Sequence[Any]) -> None:
        locks: list[bool] = []
        while not any(locks) or locks != [consumer.connection.is_ours for consumer in consumers]:
            # Nothing tells when it becomes so.
            await asyncio.sleep(0.02)
            with suppress(OperationalError):
                locks = [await consumer.database.run(has_lock) for consumer in consumers]

    async def follow_twice() -> None:
        gateway = HttpGateway(simulator.url, timeout_s=5)
        consumers = [new_consumer(simulator.url, gateway) for _ in range(2)]
        async with asyncio.timeout(60):
            running = [asyncio.create_task(consumer.run()) for consumer in consumers]
            try:
                await until_it_is_clear_who_is_active(consumers)
                [active] = [consumer for consumer in consumers if consumer.connection.is_ours]
                await asyncio.to_thread(end_backend, await active.database.run(backend))
                await until_it_is_clear_who_is_active(consumers)
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
                await gateway.close()

    asyncio.run(follow_twice())


def end_backend(pid: int) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    finally:
        close_connection()


def test_a_session_that_begins_within_a_connection_is_not_taken_for_repeats(accept: Accept) -> None:
    order = accept()
    with restarting_exchange(order) as url:
        follow_until_settled(url, lambda: Order.objects.get().filled_quantity == 100)
    order.refresh_from_db()
    assert order.execution_status == "filled"
    assert order.average_price == 10
    assert FeedPosition.objects.get().session_id == "two"


def test_look_ups_that_fail_now_and_then_do_not_keep_the_feed_from_being_followed(
    simulator: SimulatorProcess, accept: Accept
) -> None:
    for _ in range(60):
        accept(instrument="NEVERFILL___")
    run_loop(simulator.url)
    follow_until_settled(simulator.url, lambda: FeedPosition.objects.filter(sequence=60).exists())
    simulator.control(look_up_failure_rate=0.3, new_session=True)
    accept()
    run_loop(simulator.url)
    follow_until_settled(simulator.url, lambda: Order.objects.filter(execution_status="filled").exists())
    simulator.control(look_up_failure_rate=0)
    assert_equal_to_the_book(simulator)


def test_look_ups_that_all_fail_do_not_keep_the_feed_from_being_followed(simulator: SimulatorProcess, accept: Accept) -> None:
    resting, _ = accept(instrument="NEVERFILL___"), accept()
    run_loop(simulator.url)
    follow_until_settled(simulator.url, lambda: Order.objects.filter(execution_status="filled").exists())
    simulator.control(look_up_failure_rate=1, new_session=True)
    accept()
    run_loop(simulator.url)
    follow_until_settled(simulator.url, lambda: Order.objects.filter(execution_status="filled").count() == 2)
    # It could not be looked up, and is not forgotten.
    resting.refresh_from_db()
    position = FeedPosition.objects.get()
    assert resting.look_up_at is not None or position.look_up_open_at is not None or position.look_up_open_after is not None


def test_sessions_that_begin_while_the_last_one_is_reconciled_count_nothing_twice(
    simulator: SimulatorProcess, accept: Accept, start_consumer: Callable[[], subprocess.Popen[bytes]]
) -> None:
    start_consumer()
    for _ in range(150):
        accept(instrument="NEVERFILL___")
    run_loop(simulator.url)
    for _ in range(12):
        orders = [accept(instrument="PARTIAL_____") for _ in range(10)]
        run_loop(simulator.url)
        simulator.control(new_session=True)
        for order in orders:
            cancel_order(order.id, requested_by="anna")
        run_loop(simulator.url)
        simulator.control(new_session=True)
    wait_until(lambda: is_equal_to_the_book(simulator), within_s=40)
    assert_equal_to_the_book(simulator)
    assert DeadLetter.objects.count() == 0
