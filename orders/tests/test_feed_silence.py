"""A feed that is connected and tells nothing: because nothing happens, or because reports do not arrive."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from django.utils import timezone

from exchange.feed import FeedDisconnected
from exchange.http_gateway import HttpGateway
from infrastructure.database_thread import DatabaseThread
from lemon_market.doctor.backlog import feed as feed_findings
from orders.executions.feed_connection import ConnectionState, save_connection
from orders.executions.feed_positions import active_feed, load_position
from orders.executions.feed_silence import OVERDUE_S, QUIET_S, SilenceWatch
from orders.models import Order
from testsupport.placement import run_loop
from testsupport.simulator_process import SimulatorProcess
from testsupport.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]


class Watching:
    """A watch of a feed on which nothing has come, with a clock that the test moves."""

    def __init__(self, simulator: SimulatorProcess, gateway: HttpGateway, database: DatabaseThread) -> None:
        self.now_s = 0.0
        self.connection = ConnectionState()
        self.connection.heard(simulator.health()["session_id"], 0)
        self.connection.made()
        self.watch = SilenceWatch(gateway, self.connection, clock=lambda: self.now_s)
        self.database = database

    async def look_after(self, seconds: float, taken: int) -> bool:
        """Whether the feed is taken for silent then."""
        self.now_s += seconds
        await self.watch.look(taken, self.database.run)
        return self.connection.silent_since is not None


def watch(simulator: SimulatorProcess, work: Callable[[Watching], Awaitable[None]]) -> None:
    async def run() -> None:
        gateway, database = HttpGateway(simulator.url, timeout_s=5), DatabaseThread("test")
        try:
            await work(Watching(simulator, gateway, database))
        finally:
            await gateway.close()
            await database.close()

    asyncio.run(run())


def test_reports_that_the_exchange_has_and_that_do_not_come_are_a_fault(simulator: SimulatorProcess, accept: Accept) -> None:
    simulator.control(delay=3600)
    accept(instrument="PARTIAL_____")
    run_loop(simulator.url)
    last = wait_until(lambda: simulator.health()["last_sequence"] >= 2 and simulator.health()["last_sequence"])

    async def wait_for_reports(watching: Watching) -> None:
        assert not await watching.look_after(QUIET_S - 1, taken=0)
        assert watching.connection.last_sequence == 0, "it is not quiet for long enough"
        assert not await watching.look_after(2, taken=0)
        assert watching.connection.last_sequence == last, "the order was looked up"
        assert not await watching.look_after(OVERDUE_S - 1, taken=0)
        assert await watching.look_after(2, taken=last - 1)
        assert await watching.look_after(1, taken=last - 1)
        assert not await watching.look_after(1, taken=last)

    watch(simulator, wait_for_reports)
    assert load_position(active_feed()).look_up_open_at is not None, "what the feed does not tell is looked up"
    order = Order.objects.get()
    assert order.filled_quantity == 50, "so is the order itself, which brings it up to date"


def test_resting_orders_raise_no_alarm(simulator: SimulatorProcess, accept: Accept) -> None:
    for _ in range(2):
        accept(instrument="NEVERFILL___")
    run_loop(simulator.url)
    last = wait_until(lambda: simulator.health()["last_sequence"] == 2 and 2)

    async def wait_for_long(watching: Watching) -> None:
        for _ in range(20):
            assert not await watching.look_after(QUIET_S + OVERDUE_S, taken=last)

    watch(simulator, wait_for_long)
    assert Order.objects.filter(execution_status="new", look_up_at=None, discrepancy=None).count() == 2


def test_without_open_orders_nothing_is_looked_up(simulator: SimulatorProcess) -> None:
    async def wait_for_long(watching: Watching) -> None:
        for _ in range(3):
            assert not await watching.look_after(QUIET_S + OVERDUE_S, taken=0)
        assert watching.connection.last_sequence == 0

    watch(simulator, wait_for_long)


def test_a_feed_that_stayed_behind_in_an_old_session_is_left(simulator: SimulatorProcess, accept: Accept) -> None:
    accept(instrument="NEVERFILL___")
    run_loop(simulator.url)

    async def begin_another(watching: Watching) -> None:
        simulator.control(new_session=True)
        with pytest.raises(FeedDisconnected, match="another session"):
            await watching.look_after(QUIET_S + 1, taken=1)

    watch(simulator, begin_another)


def test_the_doctor_calls_a_silent_feed_bad() -> None:
    save_connection(active_feed(), None, "s1", 17)
    [finding] = feed_findings()
    assert finding.level != "bad"
    save_connection(active_feed(), None, "s1", 17, timezone.now())
    [finding] = feed_findings()
    assert finding.level == "bad"
    assert "have not arrived" in finding.text
