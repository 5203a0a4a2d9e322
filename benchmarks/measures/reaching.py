"""Measures how long an accepted order takes to reach the exchange, at 100 orders a second."""

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp

from benchmarks.children import BenchmarkError
from benchmarks.contenders import CELERY, DJANGO_Q, OURS, PROCRASTINATE, WEB, WORKERS, Contender
from benchmarks.figures import Figure, percentile
from benchmarks.measure import Measure
from benchmarks.stage import Stage

ORDERS_PER_S = 100
# Workers must be running, and have placed something, before anything is timed.
WARM_UP_ORDERS = 100
WITHIN_S = 60.0
ORDER = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100}


class Sent(NamedTuple):
    """When the request was due and when its answer came (Unix seconds)."""

    due_at: float
    answered_at: float


def figures(sent: Mapping[str, Sent], received_at: Mapping[str, float]) -> list[Figure]:
    """From the answer, and from the request, until the exchange had the order. Raises BenchmarkError when one is missing."""
    if missing := sent.keys() - received_at.keys():
        raise BenchmarkError(f"{len(missing)} of {len(sent)} orders did not reach the exchange")
    # An order can reach the exchange before its answer reaches the client.
    after_answer = [max(0.0, received_at[id] - times.answered_at) * 1000 for id, times in sent.items()]
    after_request = [(received_at[id] - times.due_at) * 1000 for id, times in sent.items()]
    return [
        Figure("p50", percentile(after_answer, 0.5), "ms"),
        Figure("p99", percentile(after_answer, 0.99), "ms"),
        Figure("p50 from the request", percentile(after_request, 0.5), "ms"),
        Figure("p99 from the request", percentile(after_request, 0.99), "ms"),
    ]


def measure(stage: Stage, contender: Contender) -> list[Figure]:
    services = [name for name in contender.services if name not in {WEB, WORKERS, "exchange"}]
    with stage.turn(contender, WEB, WORKERS, *services) as turn:
        # An order that meets an unavailable exchange arrives a retry later, which is not measured here.
        turn.control_exchange(unavailable_rate=0)
        warm_up = asyncio.run(send(contender, WARM_UP_ORDERS))
        turn.children.wait_until(lambda: turn.orders_at_exchange() == len(warm_up), "the first orders are placed", WITHIN_S)
        sent = asyncio.run(send(contender, round(stage.options.seconds * ORDERS_PER_S)))
        turn.children.wait_until(lambda: turn.orders_at_exchange() == len(warm_up | sent), "all orders are placed", WITHIN_S)
        return figures(sent, turn.received_at())


async def send(contender: Contender, count: int) -> dict[str, Sent]:
    """Post orders on schedule, whether or not earlier ones have been answered."""
    sent: dict[str, Sent] = {}
    begin = time.time() + 0.1
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def post(number: int) -> None:
            due_at = begin + number / ORDERS_PER_S
            await asyncio.sleep(due_at - time.time())
            token = contender.tokens[number % len(contender.tokens)] if contender.tokens else None
            headers = {"Authorization": f"Token {token}"} if token else {}
            async with http.post(contender.orders_url, json=ORDER, headers=headers) as answer:
                document = await answer.json()
                answer.raise_for_status()
            sent[str(document["id"])] = Sent(due_at, time.time())

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(count):
                    group.create_task(post(number))
        except* (aiohttp.ClientError, TimeoutError) as errors:
            raise BenchmarkError(f"{contender.name}: {errors.exceptions[0]}") from errors
    return sent


REACHING = Measure(
    "reach",
    f"Accepted until the exchange has it, at {ORDERS_PER_S} orders/s",
    "From the 202 until the exchange received the order, which may happen before the 202 (the clock is the same); and from the "
    "time at which the request was due. The exchange is always available here.",
    dict.fromkeys((OURS, CELERY, PROCRASTINATE, DJANGO_Q), measure),
)
