"""The task that django-q's workers run."""

import asyncio
import multiprocessing

from infrastructure.database.clock import database_now
from orders.models import Order
from orders.placement.circuit_breaker import Breaker
from orders.placement.loop import PlacementLoop
from orders.retry_policy import PlacementPolicy
from orders.venue import open_gateway
from orders.wakeups.django_q import queue_task

# Shared memory. The cluster's parent sets it when it is told to stop, and every worker that it forked reads it. It has no
# lock, so that a worker that is killed while reading cannot block the others.
stopping = multiprocessing.RawValue("b", 0)
# Kept between the tasks of one worker process, so that a new loop does not flood an exchange that is known to be unavailable.
breaker = Breaker()


def place_orders() -> int:
    """Run one placement loop. Return how many claims it took."""
    calls = asyncio.run(run_loop())
    if not is_stopping() and Order.objects.due(database_now()).exists():
        queue_task()
    return calls


def is_stopping() -> bool:
    return bool(stopping.value)


async def run_loop() -> int:
    async with open_gateway() as gateway:
        return await PlacementLoop(gateway, PlacementPolicy.from_settings(), breaker, is_stopping=is_stopping).run()
