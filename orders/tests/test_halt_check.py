"""A halt that begins between claim and send: nothing that it covers begins to be sent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import pytest

from exchange.http_gateway import HttpGateway
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database_thread import DatabaseThread
from orders.models import Halt, Order
from orders.placement.attempts import NotSent, record
from orders.placement.cancel import cancel_order
from orders.placement.circuit_breaker import Breaker
from orders.placement.loop import PlacementLoop
from orders.risk import halt_check
from orders.risk.halt_check import HaltCheck
from orders.risk.halts import halts_in_force
from orders.risk.switches import release_orders
from orders.states import Status
from orders.tests.halting import halt, resume
from testsupport.placement import POLICY, answered, claim_one, history, let_time_pass, run_loop
from testsupport.simulator_process import SimulatorProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.simulator(shared=True)]
Accept = Callable[..., Order]
LONG_AGO = float("-inf")


class Reads:
    """The reads of halts by a check, each of which something may happen after, and a clock that moves only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.now = monotonic()
        self.then: Callable[[], object] = lambda: None
        monkeypatch.setattr(halt_check, "halts_in_force", self.read)

    def read(self) -> list[Halt]:
        self.count += 1
        found = halts_in_force()
        self.then()
        return found

    def clock(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


class AfterClaim:
    """Wake-ups, of which there are none: what it is given happens after the first claim was committed."""

    def __init__(self, happen: Callable[[], object]) -> None:
        self.happen: Callable[[], object] | None = happen

    async def arrivals(self) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    def begin_claim(self) -> None:
        pass

    def end_claim(self) -> None:
        if self.happen is not None:
            self.happen()
            self.happen = None


def place(url: str, reads: Reads, happen: Callable[[], object] = lambda: None) -> int:
    """Place everything that is due; `happen` does after the first claim, and then a worker that was stopped for 6 s goes on."""

    def stopped() -> None:
        happen()
        reads.pass_s(6)

    async def run() -> int:
        gateway = HttpGateway(url, timeout_s=POLICY.exchange_timeout_s)
        loop = PlacementLoop(gateway, POLICY, Breaker(), idle_before_return_s=0.0, wake_ups=AfterClaim(stopped))
        loop.halt_check.clock = lambda: reads.now
        try:
            return await loop.run()
        finally:
            await gateway.close()

    return asyncio.run(run())


def check(reads: Reads, *orders: Order, checked_s: float = LONG_AGO) -> list[bool]:
    async def run() -> list[bool]:
        database = DatabaseThread("test")
        looking = HaltCheck(database, reads.clock)
        try:
            return await asyncio.gather(*[looking.allows(order, checked_s) for order in orders])
        finally:
            await database.close()

    return asyncio.run(run())


@pytest.mark.parametrize("scope", ["all", "account", "instrument"])
def test_what_is_halted_after_its_claim_is_not_sent_but_held(
    simulator: SimulatorProcess, accept: Accept, reads: Reads, account: Any, scope: str
) -> None:
    orders = [accept() for _ in range(20)]
    scopes: dict[str, dict[str, Any]] = {"all": {}, "account": {"account": account}, "instrument": {"instrument": "AAPL_2025_03"}}
    place(simulator.url, reads, lambda: halt(**scopes[scope]))
    assert not {str(order.id) for order in orders} & simulator.book().keys()
    assert {tuple(history(order)) for order in orders} == {("accepted", "held")}
    assert set(Order.objects.values_list("status", "attempt_count", "may_be_at_exchange", "claimed_until")) == {
        (Status.PENDING, 1, False, None)
    }, "claimed once, and not again and again"
    resume(**scopes[scope])
    release_orders()
    assert run_loop(simulator.url) == 20
    assert {simulator.book()[str(order.id)]["times_received"] for order in orders} == {1}


def test_what_the_halt_does_not_cover_is_sent(
    simulator: SimulatorProcess, accept: Accept, reads: Reads, django_user_model: Any
) -> None:
    halted, order = accept(instrument="TSLA_2025_06"), accept()
    bert = django_user_model.objects.create_user("bert")

    def halt_others() -> None:
        halt(instrument="TSLA_2025_06")
        halt(account=bert)

    place(simulator.url, reads, halt_others)
    assert (history(order), history(halted)) == (["accepted", "placed"], ["accepted", "held"])


def test_a_claim_of_this_moment_is_not_looked_at_again(simulator: SimulatorProcess, accept: Accept, reads: Reads) -> None:
    accept()
    assert run_loop(simulator.url) == 1
    reads.count = 0
    assert check(reads, *Order.objects.all(), checked_s=reads.now) == [True]
    assert reads.count == 0


def test_sends_that_wait_share_one_look(accept: Accept, reads: Reads) -> None:
    here, there = accept(), accept(instrument="TSLA_2025_06")
    halt(instrument="TSLA_2025_06")
    assert check(reads, *[here, there] * 100) == [True, False] * 100
    assert reads.count == 1


def test_a_look_from_before_the_process_was_stopped_is_repeated(accept: Accept, reads: Reads) -> None:
    order = accept()

    def stop_once() -> None:
        reads.then = lambda: None
        halt()
        reads.pass_s(6)

    reads.then = stop_once
    assert check(reads, order) == [False]
    assert reads.count == 2


@pytest.mark.parametrize(("takes_s", "looks"), [(0.009, 1), (0.015, 2), (0.05, 4), (3.0, 10)])
def test_a_slow_database_does_not_end_all_sends(accept: Accept, reads: Reads, takes_s: float, looks: int) -> None:
    reads.then = lambda: reads.pass_s(takes_s)
    assert check(reads, accept()) == [True]
    assert reads.count == looks


def test_nothing_is_sent_while_the_database_cannot_be_asked(simulator: SimulatorProcess, accept: Accept, reads: Reads) -> None:
    order = accept()

    def fail_once() -> None:
        reads.then = lambda: None
        raise DatabaseUnavailable("the connection is lost")

    reads.then = fail_once
    place(simulator.url, reads)
    order.refresh_from_db()
    assert (reads.count, order.status) == (2, Status.COMPLETED)
    assert order.attempt_count == 2, "nothing came of the first"
    assert simulator.book()[str(order.id)]["times_received"] == 1


def test_a_cancel_that_came_meanwhile_ends_it(simulator: SimulatorProcess, accept: Accept, reads: Reads) -> None:
    order = accept()

    def cancel_and_halt() -> None:
        cancel_order(order.id, "anna")
        halt()

    place(simulator.url, reads, cancel_and_halt)
    assert history(order) == ["accepted", "cancel_requested", "canceled"]
    assert str(order.id) not in simulator.book()


def test_look_ups_are_not_held_up(simulator: SimulatorProcess, accept: Accept, reads: Reads) -> None:
    accept()
    claim_one()
    let_time_pass(70)
    halt()
    assert place(simulator.url, reads) == 1
    assert reads.count == 0


def test_what_comes_after_the_end_of_the_halt_is_not_held_by_it(accept: Accept) -> None:
    order = accept()
    unsent = answered(claim_one(), NotSent())
    halt()
    resume()
    release_orders()
    record([unsent], POLICY)
    order.refresh_from_db()
    assert (order.held_at, order.claimed_until, order.next_attempt_at is not None) == (None, None, True)
