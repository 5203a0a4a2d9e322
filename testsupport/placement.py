"""Places orders in tests as a worker does: one loop against a real exchange, without waiting for anything."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import F
from django.utils import timezone

from exchange import gateway as venue
from exchange.gateway import Gateway
from exchange.http_gateway import HttpGateway
from orders.models import Halt, Order
from orders.placement.attempts import Claim, NotSent, Result, Step, claim_due_orders, execute, record
from orders.placement.circuit_breaker import Breaker
from orders.placement.loop import PlacementLoop
from orders.retry_policy import PlacementPolicy

# Short times, so that a test of a timeout is quick, but a long lease, so that it never ends by itself.
POLICY = PlacementPolicy(
    retry_base_s=1.0,
    retry_cap_s=60.0,
    give_up_after_s=900.0,
    lease_s=60.0,
    exchange_timeout_s=5.0,
    clock_margin_s=2.0,
    concurrency=200,
)
IMPATIENT = replace(POLICY, exchange_timeout_s=0.3)


def run_loop(url: str, policy: PlacementPolicy = POLICY, breaker: Breaker | None = None, **options: Any) -> int:
    """Place everything that is due now; return how many calls of the exchange that took."""

    async def run() -> int:
        gateway = HttpGateway(url, timeout_s=policy.exchange_timeout_s)
        try:
            loop = PlacementLoop(gateway, policy, breaker or Breaker(), **{"idle_before_return_s": 0.0} | options)
            return await loop.run()
        finally:
            await gateway.close()

    return asyncio.run(run())


def one_round(url: str, policy: PlacementPolicy = POLICY) -> None:
    """Make exactly one call for each order that is due, and record the results."""

    async def execute_all(claims: list[Claim]) -> list[Result]:
        gateway = HttpGateway(url, timeout_s=policy.exchange_timeout_s)
        try:
            return await asyncio.gather(*[execute(claim, gateway, policy) for claim in claims])
        finally:
            await gateway.close()

    record(asyncio.run(execute_all(claim_due_orders(1000, policy))), policy)


def claim_one(policy: PlacementPolicy = POLICY) -> Claim:
    [claim] = claim_due_orders(10, policy)
    return claim


def execute_at(claim: Claim, url: str, policy: PlacementPolicy = POLICY) -> Result:
    """Make the claim's one call of the exchange; the result is not recorded."""

    async def run() -> Result:
        gateway = HttpGateway(url, timeout_s=policy.exchange_timeout_s)
        try:
            return await execute(claim, gateway, policy)
        finally:
            await gateway.close()

    return asyncio.run(run())


def execute_with(gateway: Gateway, claim: Claim, policy: PlacementPolicy = POLICY) -> Result:
    return asyncio.run(execute(claim, gateway, policy))


def many_like(order: Order, count: int, **changes: Any) -> None:
    """Store `count` orders that differ from this one only in `changes` (column to value), and update the planner's statistics."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders_order SELECT made.* FROM orders_order AS given, generate_series(1, %s) AS number,"
            " jsonb_populate_record(given, jsonb_build_object('id', gen_random_uuid(), 'client_order_id', number::text) || %s)"
            " AS made WHERE given.id = %s",
            [count, json.dumps(changes), order.id],
        )
        cursor.execute("ANALYZE orders_order")


def history(order: Order) -> list[str]:
    return list(order.events.values_list("type", flat=True))


def answered(claim: Claim, outcome: venue.PlacementOutcome | venue.LookUpOutcome | venue.CancelOutcome | NotSent) -> Result:
    now = timezone.now()
    return Result(claim, outcome, now, 0.5, now + timedelta(seconds=5) if claim.step is Step.SEND else None)


def let_time_pass(seconds: float) -> None:
    """Move every time that workers look at into the past, which looks to them as if the clock had moved on."""
    past = timedelta(seconds=seconds)
    for order in Order.objects.all():
        for name in ("created_at", "next_attempt_at", "held_at", "claimed_until", "give_up_at", "sent_valid_until", "expires_at"):
            moment = getattr(order, name)
            setattr(order, name, moment and moment - past)
        order.save()
    moved = {name: F(name) - past for name in ("started_at", "ended_at", "released_at")}
    Halt.objects.update(**moved)
