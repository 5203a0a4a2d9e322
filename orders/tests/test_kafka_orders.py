"""From the commit to the exchange through the topic `orders`."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from django.db import transaction

from devstack.free_ports import free_port
from orders.kafka.clients import new_producer
from orders.kafka.topics import ORDERS
from orders.models import Order
from orders.placement.sweep import Sweep
from orders.states import Status
from orders.tests.on_kafka import all_messages, committed_offsets, members_with_work, roles
from orders.wakeups import kafka as wake_ups
from orders.wakeups.kafka import OrdersTopic, orders_producer
from testsupport.database import database_url
from testsupport.placement import run_loop
from testsupport.simulator_process import SimulatorProcess
from testsupport.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]


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


def test_without_a_broker_orders_are_accepted_and_nobody_waits_for_it(
    settings: Any, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    fates: list[int] = []

    class Watched(Producer):
        def poll(self, timeout: float = -1) -> int:
            waits.append(timeout)
            return super().poll(timeout)

        def flush(self, timeout: float = -1) -> int:
            waits.append(timeout)
            return super().flush(timeout)

    monkeypatch.setattr("orders.kafka.clients.Producer", Watched)
    # Longer than this test takes.
    monkeypatch.setattr(wake_ups, "WAKE_UP_TIMEOUT_MS", 60_000)
    monkeypatch.setattr(orders_producer, "delivered", lambda error, _message: fates.append(error.code()))
    settings.ORDER_TRANSPORT, settings.KAFKA_BOOTSTRAP_SERVERS = "kafka", f"127.0.0.1:{free_port()}"
    for _ in range(3):
        accept()
    assert Order.objects.filter(status=Status.PENDING).count() == 3
    assert set(waits) == {0}
    producer = orders_producer.producer()
    producer.purge()
    producer.flush(10)
    assert fates == [KafkaError._PURGE_QUEUE] * 3, "their wake-ups were waiting for a broker"


def test_a_producer_that_fails_for_good_is_replaced_and_no_client_hears_of_it(
    kafka: object, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def produce(self, *_: object, **__: object) -> None:
            raise KafkaException(KafkaError(KafkaError._FATAL, "sequence lost", fatal=True))

        def poll(self, _timeout: float) -> int:
            return 0

    broken = [Broken()]
    monkeypatch.setattr(wake_ups, "new_producer", lambda **options: broken.pop() if broken else new_producer(**options))
    # As in a process that has sent none yet.
    monkeypatch.setattr(orders_producer, "key", None)
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


def read(topic: OrdersTopic, count: int) -> None:
    """Wait until so many messages have woken whoever waits for arrivals."""

    async def read_all() -> None:
        async with asyncio.timeout(20):
            async for _ in topic.arrivals():
                if len(topic.read) == count:
                    return

    asyncio.run(read_all())


def test_offsets_are_committed_after_the_claim(kafka: object, accept: Accept) -> None:
    for _ in range(5):
        accept()
    orders_producer.producer().flush(10)
    with closing(OrdersTopic()) as reader:
        read(reader, 5)
    assert committed_offsets(ORDERS) == 0, "they are read, and not claimed"
    with closing(OrdersTopic()) as reader:
        read(reader, 5)
        reader.begin_claim()
        reader.end_claim()
    assert committed_offsets(ORDERS) == 5


@pytest.mark.usefixtures("kafka")
def test_a_message_that_nobody_can_read_wakes_as_well_as_any_other() -> None:
    for nonsense in (b"", b"\xff\x00", b"[" * 1000):
        orders_producer.producer().produce(ORDERS.full_name, nonsense, key=b"\xff")
    orders_producer.producer().flush(10)
    with closing(OrdersTopic()) as topic:
        read(topic, 3)
        topic.begin_claim()
        topic.end_claim()
    assert committed_offsets(ORDERS) == 3, "they are not read again"


def test_three_consumers_share_the_work_and_place_each_order_once(
    kafka: object, accept: Accept, simulator: SimulatorProcess
) -> None:
    # Each has room for 5 orders, and is not answered before all three can have filled theirs.
    simulator.control(latency=8)
    times = {"EXCHANGE_TIMEOUT": "60", "PLACEMENT_LEASE": "150"}
    with roles(EXCHANGE_URL=simulator.url, PLACEMENT_CONCURRENCY="5", **times) as running:
        running.start(*["run_exchange_consumer"] * 3)
        wait_until(lambda: members_with_work(ORDERS) == 3, within_s=60)
        # So many that every partition has some.
        for _ in range(60):
            accept()
        wait_until(lambda: len(simulator.book()) == 15, within_s=60)
        assert not Order.objects.filter(status=Status.COMPLETED).exists()
        simulator.control(latency=0)
        wait_until(lambda: Order.objects.filter(status=Status.COMPLETED).count() == 60, within_s=60)
        for consumer in running.started:
            consumer.terminate()
        assert [consumer.wait(15) for consumer in running.started] == [0, 0, 0]
    assert {order["times_received"] for order in simulator.book().values()} == {1}
