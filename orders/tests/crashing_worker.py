"""A worker process that is killed or frozen at a chosen point: `python -m orders.tests.crashing_worker POINT URL`.

It goes through claim, send and record with the real functions, and at POINT sends itself SIGKILL (or SIGSTOP at
`frozen_before_send`), so that no `finally` and no buffer softens the crash.
"""

import asyncio
import os
import signal
import sys

import django

KILL_POINTS = ("after_claim", "after_send", "before_commit", "after_record")

if __name__ == "__main__":
    django.setup()

    from django.db import transaction

    from exchange.http_gateway import HttpGateway
    from orders.placement.attempts import Claim, Result, claim_due_orders, execute, record
    from orders.retry_policy import PlacementPolicy

    point, url = sys.argv[1:]
    policy = PlacementPolicy.from_settings()

    def die_at(here: str) -> None:
        if point == here:
            os.kill(os.getpid(), signal.SIGKILL)

    async def execute_all(claims: list[Claim]) -> list[Result]:
        gateway = HttpGateway(url, timeout_s=policy.exchange_timeout_s)
        try:
            return [await execute(claim, gateway, policy) for claim in claims]
        finally:
            await gateway.close()

    claims = claim_due_orders(10, policy)
    die_at("after_claim")
    if point == "frozen_before_send":
        os.kill(os.getpid(), signal.SIGSTOP)
    results = asyncio.run(execute_all(claims))
    die_at("after_send")
    with transaction.atomic():
        record(results, policy)
        # All is written, and nothing committed.
        die_at("before_commit")
    die_at("after_record")
