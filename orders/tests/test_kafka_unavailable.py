"""A broker that is killed and comes back while everything is at work."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orders.kafka.topics import ORDER_UPDATES
from orders.models import DeadLetter, FeedPosition, Order, OrderEvent
from orders.states import Status
from orders.tests.following import assert_equal_to_the_book, everything_is_settled
from orders.tests.on_kafka import Roles, all_messages, published, roles
from testsupport.kafka_broker import KafkaBroker
from testsupport.simulator_process import SimulatorProcess
from testsupport.transport_plugin import fresh_kafka, used_here
from testsupport.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.simulator(latency=0.1)]
Accept = Callable[..., Order]
EVERY_ROLE = [
    *["run_exchange_consumer"] * 3,
    *["run_update_recorder"] * 2,
    "run_update_consumer",
    "run_outbox_relay",
    "run_sweep",
]


@pytest.fixture
def broker(mortal_broker: KafkaBroker) -> Iterator[KafkaBroker]:
    mortal_broker.ensure_running()
    with used_here(fresh_kafka(mortal_broker.servers)):
        yield mortal_broker


@pytest.fixture
def running(broker: KafkaBroker, simulator: SimulatorProcess, tmp_path: Path) -> Iterator[Roles]:
    with roles(EXCHANGE_URL=simulator.url, DATA_DIR=str(tmp_path)) as every_role:
        every_role.start(*EVERY_ROLE)
        yield every_role


def all_are_filled(count: int) -> bool:
    return Order.objects.filter(execution_status="filled").count() == count


def test_a_broker_killed_under_load_costs_time_and_nothing_else(
    broker: KafkaBroker, simulator: SimulatorProcess, running: Roles, accept: Accept
) -> None:
    simulator.control(repeat_rate=0.2, early_report_rate=0.2)
    for number in range(200):
        accept()
        if number == 50:
            wait_until(lambda: Order.objects.filter(execution_status="filled").exists(), within_s=40)
            broker.kill()
    # Placing goes on without it: the rows are the truth, and exchange consumers look for themselves.
    wait_until(lambda: Order.objects.filter(status=Status.COMPLETED).count() == 200, within_s=40)
    assert not all_are_filled(200), "executions wait for it"
    assert FeedPosition.objects.get().sequence < simulator.health()["last_sequence"], "the position waits, too"
    broker.start()
    wait_until(lambda: all_are_filled(200), within_s=60)
    assert_equal_to_the_book(simulator)
    assert {order["times_received"] for order in simulator.book().values()} == {1}
    wait_until(lambda: set(published()) == set(OrderEvent.objects.values_list("event_id", flat=True)), within_s=40)
    assert DeadLetter.objects.count() == 0
    assert [role.poll() for role in running.started] == [None] * len(EVERY_ROLE), "nobody had to be started again"


def test_orders_are_placed_by_consumers_that_start_before_the_broker(
    broker: KafkaBroker, simulator: SimulatorProcess, accept: Accept, tmp_path: Path
) -> None:
    broker.kill()
    with roles(EXCHANGE_URL=simulator.url, DATA_DIR=str(tmp_path)) as running:
        running.start(*EVERY_ROLE)
        orders = [accept() for _ in range(20)]
        wait_until(lambda: Order.objects.filter(status=Status.COMPLETED).count() == 20, within_s=40)
        broker.start()
        wait_until(lambda: Order.objects.exists() and everything_is_settled() and all_are_filled(20), within_s=60)
        wait_until(lambda: len(all_messages(ORDER_UPDATES)) >= OrderEvent.objects.count(), within_s=40)
    assert_equal_to_the_book(simulator)
    placed = Counter(OrderEvent.objects.filter(type="placed").values_list("order_id", flat=True))
    assert placed == dict.fromkeys((order.id for order in orders), 1)
