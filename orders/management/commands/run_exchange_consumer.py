import asyncio
import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand

from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from infrastructure.sockets import allow_many_sockets
from orders.placement.circuit_breaker import Breaker
from orders.placement.loop import PlacementLoop
from orders.placement.worker_registry import register_this_process
from orders.retry_policy import PlacementPolicy
from orders.venue import open_gateway
from orders.wakeups.kafka import OrdersTopic


class Command(BaseCommand):
    help = "Places orders, woken by the topic `orders` (ORDER_TRANSPORT=kafka). Run as many as needed, on any machines."

    def handle(self, *args: Any, **options: Any) -> None:
        allow_many_sockets()
        register_this_process()
        try:
            asyncio.run(place_until_stopped())
        except* DatabaseUnavailable as errors:
            # The next worker that claims such an order looks it up.
            sys.exit(
                f"The database was unavailable for too long, so outcomes could not be recorded: {one_line(errors.exceptions[0])}"
            )


async def place_until_stopped() -> None:
    """Works without Kafka too, which only announces due orders a quarter of a second earlier."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    policy = PlacementPolicy.from_settings()
    topic = OrdersTopic()
    endless = {"run_for_s": float("inf"), "idle_before_return_s": float("inf")}
    async with open_gateway() as gateway:
        try:
            await PlacementLoop(gateway, policy, Breaker(), is_stopping=stopping.is_set, wake_ups=topic, **endless).run()
        finally:
            await asyncio.to_thread(topic.close)
