"""The placement loop: many exchange calls at once on one event loop, a new one as soon as another ends.

A slow order occupies its own slot and delays nothing else. Database work runs on one thread beside the event loop, in short
transactions; outcomes are recorded together, every few milliseconds.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic

import structlog

from exchange.gateway import Gateway
from infrastructure.database.clock import ClockWrong, our_clock
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from infrastructure.database_thread import DatabaseThread
from orders.placement.attempts import (
    Claim,
    NotSent,
    Result,
    Step,
    claim_due_orders,
    execute,
    not_sent,
    put_waiting_orders_back,
    record,
)
from orders.placement.circuit_breaker import Breaker, Source
from orders.placement.worker_state import SAY_EVERY_S, say
from orders.retry_policy import PlacementPolicy
from orders.risk.halt_check import HaltCheck
from orders.wakeups import WakeUps
from orders.wakeups.django_q import QueuedWakeUps

log = structlog.get_logger()

# A wait this long lets outcomes that arrive close together share one transaction.
RECORD_INTERVAL_S = 0.03
POLL_INTERVAL_S = 0.25
CLAIM_INTERVAL_S = 0.01
# The first retry comes after about a second; staying longer than that saves a trip through the queue.
IDLE_BEFORE_RETURN_S = 3.0
DATABASE_RETRY_S = 0.5
# How long outcomes are kept in memory while the database is unavailable. Orders whose outcome is lost are looked up later.
KEEP_RESULTS_S = 25.0


class PlacementLoop:
    """Claims due orders, executes the claims and records the outcomes, until it is idle, told to stop, or `run_for_s` is over."""

    def __init__(
        self,
        gateway: Gateway,
        policy: PlacementPolicy,
        breaker: Breaker,
        *,
        run_for_s: float = 20.0,
        idle_before_return_s: float = IDLE_BEFORE_RETURN_S,
        is_stopping: Callable[[], bool] = lambda: False,
        wake_ups: WakeUps | None = None,
    ) -> None:
        self.gateway = gateway
        self.policy = policy
        self.breaker = breaker
        self.run_for_s = run_for_s
        self.idle_before_return_s = idle_before_return_s
        self.is_stopping = is_stopping
        self.wake_ups = wake_ups or QueuedWakeUps()
        self.calls: set[asyncio.Task[None]] = set()
        self.clock_problem: ClockWrong | None = None
        self.state_changed = asyncio.Event()
        self.results: list[Result] = []
        self.result_arrived = asyncio.Event()
        self.slot_freed = asyncio.Event()
        self.work_arrived = asyncio.Event()
        self.claiming_is_over = False
        self.database = DatabaseThread("placement-database")
        self.halt_check = HaltCheck(self.database)
        self.claim_began_s = 0.0
        self.claimed_count = 0
        self.unrecorded_count = 0

    async def run(self) -> int:
        """Run the loop and return how many claims it took.

        Raises ExceptionGroup when the database is unavailable for longer than outcomes are kept.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.record_results())
                group.create_task(self.report_state())
                listener = group.create_task(self.listen())
                await self.claim_until_done(group)
                if self.calls:
                    await asyncio.wait(self.calls)
                listener.cancel()
                self.claiming_is_over = True
                self.result_arrived.set()
                self.state_changed.set()
        finally:
            await self.database.close()
        return self.claimed_count

    async def claim_until_done(self, group: asyncio.TaskGroup) -> None:
        end = monotonic() + self.run_for_s
        busy_at = monotonic()
        while monotonic() < end and not self.is_stopping():
            self.slot_freed.clear()
            self.work_arrived.clear()
            # Determined before the claim: a result that is recorded after it may make an order due again.
            is_busy = bool(self.calls or self.unrecorded_count or self.breaker.is_open or self.clock_problem)
            free = self.policy.concurrency - len(self.calls)
            # A probe goes alone, after all earlier results are recorded and their orders are back in their places.
            must_wait = self.breaker.is_open and (self.calls or self.unrecorded_count)
            allowed = 0 if must_wait else self.breaker.allow(free)
            claims = await self.claim(allowed) if allowed else []
            for claim in claims:
                self.start(claim, group)
            if claims or is_busy:
                busy_at = monotonic()
            elif monotonic() - busy_at >= self.idle_before_return_s:
                return
            if len(claims) == free:
                await self.wait_for_slot()
            else:
                await self.wait_for_work()

    async def claim(self, limit: int) -> list[Claim]:
        try:
            claims, problem = await self.database.run(partial(self.take_over, limit)), None
        except ClockWrong as wrong:
            claims, problem = [], wrong
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", doing="claim", error=one_line(error))
            await asyncio.sleep(DATABASE_RETRY_S)
            return []
        if bool(problem) != bool(self.clock_problem):
            self.state_changed.set()
        self.clock_problem = problem
        return claims

    def take_over(self, limit: int) -> list[Claim]:
        # Before taking wake-ups: if this raises, other workers can still use them.
        clock = our_clock.measure()
        turns = self.breaker.turns
        if turns != self.breaker.turns_dealt_with:
            put_waiting_orders_back()
            self.breaker.turns_dealt_with = turns
        # Before the claim: each wake-up taken here belongs to an order that the claim can see.
        self.wake_ups.begin_claim()
        self.claim_began_s = monotonic()
        probed = self.breaker.probed if self.breaker.is_open else []
        claims = claim_due_orders(limit, self.policy, clock=clock, excluded=probed)
        if not claims and probed:
            probed.clear()
            claims = claim_due_orders(limit, self.policy, clock=clock)
        self.wake_ups.end_claim()
        return claims

    def start(self, claim: Claim, group: asyncio.TaskGroup) -> None:
        self.claimed_count += 1
        call = group.create_task(self.execute(claim, self.claim_began_s))
        self.calls.add(call)
        call.add_done_callback(self.calls.discard)
        if self.breaker.is_open:
            self.breaker.probed.append(source_of(claim))

    async def execute(self, claim: Claim, claimed_s: float) -> None:
        began_at = self.breaker.clock()
        if claim.step is Step.SEND and not await self.halt_check.allows(claim.order, claimed_s):
            result = not_sent(claim)
        else:
            result = await execute(claim, self.gateway, self.policy)
        if not isinstance(result.outcome, NotSent):
            was_open = self.breaker.is_open
            self.breaker.saw(source_of(claim), result.outcome, began_at)
            if self.breaker.is_open != was_open:
                log.warning("exchange_back" if was_open else "exchange_away", reason=self.breaker.reason)
                self.state_changed.set()
        self.unrecorded_count += 1
        self.results.append(result)
        self.result_arrived.set()
        self.slot_freed.set()

    async def wait_for_slot(self) -> None:
        await self.slot_freed.wait()
        # One claim fills all slots that become free at about the same time.
        await asyncio.sleep(CLAIM_INTERVAL_S)

    async def wait_for_work(self) -> None:
        """Wait until new work is announced, or until it is time to check for retries that have become due."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.work_arrived.wait(), POLL_INTERVAL_S)

    async def listen(self) -> None:
        async for _ in self.wake_ups.arrivals():
            self.work_arrived.set()

    async def report_state(self) -> None:
        """Publish this worker's state for operators and sweeps: every few seconds, on each change, and at the end."""
        while not self.claiming_is_over:
            with suppress(TimeoutError):
                async with asyncio.timeout(SAY_EVERY_S):
                    await self.state_changed.wait()
            self.state_changed.clear()
            await self.say()

    async def say(self) -> None:
        problem, pause_s = None, None
        if self.clock_problem is not None:
            problem = f"its {self.clock_problem}: it claims nothing"
        elif self.breaker.is_open:
            problem, pause_s = self.breaker.problem, self.breaker.pause_s
        try:
            await self.database.run(partial(say, problem, pause_s))
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", doing="report state", error=one_line(error))

    async def record_results(self) -> None:
        while not (self.claiming_is_over and not self.results):
            await self.result_arrived.wait()
            self.result_arrived.clear()
            await asyncio.sleep(RECORD_INTERVAL_S)
            results, self.results = self.results, []
            if self.breaker.is_open:
                results = [replace(result, in_outage=True) for result in results]
            if results:
                await self.record(results)
                self.unrecorded_count -= len(results)
                # An order that was looked up may be due again at once.
                self.work_arrived.set()

    async def record(self, results: list[Result]) -> None:
        give_up = monotonic() + KEEP_RESULTS_S
        while True:
            try:
                return await self.database.run(partial(record, results, self.policy))
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", doing="record", results=len(results), error=one_line(error))
                if monotonic() > give_up:
                    raise
                await asyncio.sleep(DATABASE_RETRY_S)


def source_of(claim: Claim) -> Source:
    return Source(claim.order.instrument, claim.order.account_id)
