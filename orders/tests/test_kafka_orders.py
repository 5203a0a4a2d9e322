"""From the commit to the exchange through the topic `orders`."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from django.conf import settings
from django.db import transaction

from exchange.testing import SimulatorProcess
from lemon_market.free_ports import free_port
from lemon_market.tests.waiting import wait_until
from orders.kafka.topics import ORDERS
from orders.kafka.wake_ups import OrdersTopic, orders_producer
from orders.models import Order
from orders.states import Status
from orders.sweep import Sweep
from orders.tests.on_kafka import all_messages, committed_offsets, roles
from orders.tests.test_placement_crashes import database_url
from orders.tests.working import POLICY, run_loop

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with SimulatorProcess(tmp_path / "exchange") as process:
        yield process


def keys() -> list[str | None]:
    orders_producer.producer().flush(10)
    return [message.key for message in all_messages(ORDERS)]


def test_an_accepted_order_is_announced_by_its_id_after_the_commit(kafka: object, accept: Accept) -> None:
    with transaction.atomic():
        order = accept()
        assert keys() == []
    assert keys() == [str(order.id)]
    [message] = all_messages(ORDERS)
    assert message.value == b'{"version":1,"order_id":"%s"}' % str(order.id).encode()


def test_an_order_that_is_rolled_back_is_not_announced(kafka: object, accept: Accept) -> None:
    with transaction.atomic():
        accept()
        transaction.set_rollback(True)
    assert keys() == []


def test_without_a_broker_orders_are_accepted_at_once(settings: Any, accept: Accept) -> None:
    settings.ORDER_TRANSPORT, settings.KAFKA_BOOTSTRAP_SERVERS = "kafka", f"127.0.0.1:{free_port()}"
    started = monotonic()
    for _ in range(20):
        accept()
    # Each waiting for Kafka would take a minute.
    assert monotonic() - started < 20
    assert Order.objects.filter(status=Status.PENDING).count() == 20


def test_a_producer_that_fails_for_good_is_replaced_and_no_client_hears_of_it(
    kafka: object, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def produce(self, *_: object, **__: object) -> None:
            raise KafkaException(KafkaError(KafkaError._FATAL, "sequence lost", fatal=True))

        def poll(self, _timeout: float) -> int:
            return 0

    monkeypatch.setattr(orders_producer, "_producer", Broken())
    monkeypatch.setattr(orders_producer, "key", (os.getpid(), settings.KAFKA_BOOTSTRAP_SERVERS))
    accept()
    assert keys() == [], "the sweep makes it good"
    order = accept()
    assert keys() == [str(order.id)]


def test_a_producer_that_dies_after_the_commit_costs_only_time(
    kafka: object, account: object, simulator: SimulatorProcess
) -> None:
    command = [sys.executable, "-m", "orders.tests.crashing_on_kafka", "before_publish"]
    died = subprocess.run(command, env=os.environ | {"DATABASE_URL": database_url()}, check=False)
    assert died.returncode == -9
    order = Order.objects.get()
    assert (order.status, keys()) == (Status.PENDING, [])
    Sweep().run_once()
    assert keys() == [str(order.id)]
    run_loop(simulator.url)
    assert Order.objects.get().status == Status.COMPLETED


def test_the_sweep_announces_what_is_due_and_nothing_else(kafka: object, accept: Accept) -> None:
    due = [accept() for _ in range(3)]
    done = accept()
    Order.objects.filter(id=done.id).update(status=Status.CANCELED, next_attempt_at=None)
    Sweep().run_once()
    assert Counter(keys()) == {str(done.id): 1} | {str(order.id): 2 for order in due}


def test_offsets_are_committed_after_the_claim(kafka: object, accept: Accept) -> None:
    for _ in range(5):
        accept()
    orders_producer.producer().flush(10)

    async def read_all(topic: OrdersTopic) -> None:
        async with asyncio.timeout(20):
            async for _ in topic.arrivals():
                if len(topic.read) == 5:
                    return

    reader = OrdersTopic()
    asyncio.run(read_all(reader))
    reader.close()
    assert committed_offsets(ORDERS) == 0, "they are read, and not claimed"
    reader = OrdersTopic()
    asyncio.run(read_all(reader))
    reader.begin_claim()
    reader.end_claim()
    reader.close()
    assert committed_offsets(ORDERS) == 5


def test_a_message_that_nobody_can_read_wakes_as_well_as_any_other(
    kafka: object, accept: Accept, simulator: SimulatorProcess
) -> None:
    order = accept()
    for nonsense in (b"", b"\xff\x00", b"[" * 1000):
        orders_producer.producer().produce(ORDERS.full_name, nonsense, key=b"\xff")
    orders_producer.producer().flush(10)
    topic = OrdersTopic()
    with roles() as nobody:
        run_loop(simulator.url, POLICY, wake_ups=topic)
        assert nobody.started == []
    topic.close()
    order.refresh_from_db()
    assert order.status == Status.COMPLETED


def test_three_consumers_share_the_work_and_place_each_order_once(
    kafka: object, accept: Accept, simulator: SimulatorProcess
) -> None:
    simulator.control(latency=0.2)
    with roles(EXCHANGE_URL=simulator.url, PLACEMENT_WINDOW="5") as running:
        running.start(*["run_exchange_consumer"] * 3)
        for _ in range(60):
            accept()
        wait_until(lambda: Order.objects.filter(status=Status.COMPLETED).count() == 60, within_s=40)
        for consumer in running.started:
            consumer.terminate()
        assert [consumer.wait(15) for consumer in running.started] == [0, 0, 0]
    assert {order["times_received"] for order in simulator.book().values()} == {1}
