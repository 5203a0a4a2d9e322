"""Following the exchange's feed in tests, until the orders are as expected."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from decimal import Decimal

from exchange.http_gateway import HttpGateway
from infrastructure.database_thread import close_connection
from orders.executions.kafka_recorder import UpdateRecorder
from orders.executions.kafka_update_consumer import AppendingUpdateConsumer
from orders.executions.update_consumer import UpdateConsumer
from orders.models import Order, OrderEvent
from orders.states import OPEN_EXECUTION
from orders.transport import transport
from testsupport.placement import POLICY
from testsupport.simulator_process import SimulatorProcess

DEADLINE_S = 20.0


def everything_is_settled() -> bool:
    return not Order.objects.filter(execution_status__in=OPEN_EXECUTION).exists()


def follow_until_settled(url: str, is_settled: Callable[[], bool] = everything_is_settled, *, apply: bool = True) -> None:
    """Run an update consumer (unless `apply` is false) until `is_settled`; fails after a deadline."""

    def check() -> bool:
        try:
            return is_settled()
        finally:
            close_connection()

    async def follow() -> None:
        gateway = HttpGateway(url, timeout_s=POLICY.exchange_timeout_s)
        consumer = asyncio.create_task(new_consumer(url, gateway).run()) if apply else None
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not await asyncio.to_thread(check):
                    assert consumer is None or not consumer.done(), "the consumer ended"
                    await asyncio.sleep(0.02)
        finally:
            if consumer is not None:
                consumer.cancel()
                with suppress(asyncio.CancelledError):
                    await consumer
            await gateway.close()

    with recorder_beside() if apply else nullcontext():
        asyncio.run(follow())


def new_consumer(url: str, gateway: HttpGateway) -> UpdateConsumer | AppendingUpdateConsumer:
    return AppendingUpdateConsumer(url, gateway) if transport().uses_kafka else UpdateConsumer(url, gateway)


@contextmanager
def recorder_beside() -> Iterator[None]:
    """On Kafka the other half of the work, on a thread of its own."""
    if not transport().uses_kafka:
        yield
        return
    stopping = threading.Event()

    def record() -> None:
        try:
            UpdateRecorder().run(stopping.is_set)
        finally:
            close_connection()

    with ThreadPoolExecutor(1) as pool:
        recording = pool.submit(record)
        try:
            yield
        finally:
            stopping.set()
        recording.result()


def is_equal_to_the_book(simulator: SimulatorProcess) -> bool:
    """Whether status, quantity and average price of every order are the same here and at the exchange."""
    ours = {str(order.id): (order.execution_status, order.filled_quantity, order.average_price) for order in Order.objects.all()}
    theirs = {
        id: (placed["status"], placed["filled_quantity"], placed["average_price"] and Decimal(placed["average_price"]))
        for id, placed in simulator.book().items()
    }
    return ours == theirs


def assert_equal_to_the_book(simulator: SimulatorProcess) -> None:
    """All orders are as the exchange has them, and each event is there once."""
    assert is_equal_to_the_book(simulator)
    assert OrderEvent.objects.filter(type="placed").count() == Order.objects.count()
    for order in Order.objects.filter(looked_up_quantity=0):
        assert sum(fill.data["last_quantity"] for fill in order.events.filter(type__endswith="filled")) == order.filled_quantity
