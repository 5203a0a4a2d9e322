"""Following the exchange's feed in tests, until the orders are as expected."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from exchange.http_gateway import HttpGateway
from orders.database_thread import close_connection
from orders.models import Order
from orders.states import OPEN_EXECUTION
from orders.tests.working import POLICY
from orders.update_consumer import UpdateConsumer

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
        consumer = asyncio.create_task(UpdateConsumer(url, gateway).run()) if apply else None
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

    asyncio.run(follow())
