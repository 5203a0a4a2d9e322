"""Following the exchange's feed: connect after the last applied report, apply in batches, reconcile what was missed."""

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from exchange.feed import ExecutionFeed, FeedDisconnected
from exchange.gateway import Found, Gateway, NotFound, TermsConflict
from exchange.reports import BadReport, ExecutionReport, FeedMessage, Session
from orders.executions import apply_found, apply_reports, move_position
from orders.feed_connection import REPORT_INTERVAL_S, ConnectionState, save_connection
from orders.models import FeedPosition, Order
from orders.placement import placement
from orders.placement_loop import close_connection, reconnecting
from orders.states import OPEN_EXECUTION, Status

log = structlog.get_logger()
T = TypeVar("T")

BATCH_SIZE = 500
# Reports that come close together share one transaction.
BATCH_INTERVAL_S = 0.01
LOOK_UPS_AT_ONCE = 50
LOOK_UP_ATTEMPTS = 6
RECONNECT_BASE_S = 0.1
RECONNECT_CAP_S = 5.0
STANDBY_S = 1.0
DATABASE_RETRY_S = 0.5
# Any number that nobody else locks.
LOCK_NUMBER = 0x6C656D6F


class UpdateConsumer:
    """The one active follower of a feed; a second one waits until the first has gone.

    Being active is a lock that belongs to the database connection which also applies the reports: whoever loses the
    connection loses both at once, so two can never apply at the same time.
    """

    def __init__(self, url: str, gateway: Gateway, *, feed: str = "exchange") -> None:
        self.url = url
        self.gateway = gateway
        self.feed = feed
        self.database = ThreadPoolExecutor(max_workers=1, thread_name_prefix="update-database")
        self.session_id = ""
        self.sequence = 0
        self.failures = 0
        self.is_active = False
        self.connection = ConnectionState()

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.tell_connection())
                await self.follow_for_ever()
        finally:
            await self.in_database(close_connection)
            self.database.shutdown()

    async def follow_for_ever(self) -> None:
        while True:
            try:
                await self.wait_until_active()
                await self.follow()
            except FeedDisconnected as ended:
                log.warning("feed_disconnected", reason=str(ended))
                self.connection.lost(str(ended))
                await self.back_off()
            except (OperationalError, InterfaceError) as error:
                log.warning("database_away", doing="apply reports", error=str(error).strip())
                self.connection.lost("the database was away")
                await asyncio.sleep(DATABASE_RETRY_S)

    async def wait_until_active(self) -> None:
        self.is_active = False
        while not await self.in_database(partial(try_lock, self.feed)):  # noqa: ASYNC110 - a lock has no event to wait for
            await asyncio.sleep(STANDBY_S)
        self.is_active = True

    async def tell_connection(self) -> None:
        """Store whether the feed is connected, at each change and every few seconds, for as long as we are the active one."""
        while True:
            self.connection.changed.clear()
            if self.is_active:
                try:
                    await self.in_database(partial(save_connection, self.feed, self.connection.problem))
                except (OperationalError, InterfaceError) as error:
                    log.warning("database_away", doing="tell connection", error=str(error).strip())
            with suppress(TimeoutError):
                await asyncio.wait_for(self.connection.changed.wait(), REPORT_INTERVAL_S)

    async def back_off(self) -> None:
        ceiling_s = min(RECONNECT_CAP_S, RECONNECT_BASE_S * 2 ** min(self.failures, 16))
        self.failures += 1
        # Full jitter, as for placements.
        await asyncio.sleep(ceiling_s * random.random())  # noqa: S311 - nothing secret

    async def follow(self) -> None:
        """One connection of the feed, from the stored position on. Raises FeedDisconnected, OperationalError."""
        position = await self.in_database(partial(load_position, self.feed))
        async with ExecutionFeed(self.url, after=position.sequence, session_id=position.session_id or None) as feed:
            await self.begin_session(feed.session, position)
            self.connection.made()
            async for messages in feed.batches(BATCH_SIZE):
                await self.apply(messages)
                self.failures = 0
                if len(messages) < BATCH_SIZE:
                    await asyncio.sleep(BATCH_INTERVAL_S)

    async def begin_session(self, session: Session, position: FeedPosition) -> None:
        """Find out what cannot be had from the feed any more, and get it by looking up the open orders."""
        self.session_id = session.session_id
        self.sequence = position.sequence
        if session.session_id != position.session_id:
            problem = "new session"
        elif session.first_sequence > position.sequence + 1:
            problem = "gap"
        elif position.sequence > session.last_sequence:
            problem = "position beyond the end of the feed"
        else:
            return
        log.warning("reconciling", problem=problem, session_id=session.session_id, first_sequence=session.first_sequence)
        await self.reconcile_open_orders()
        self.sequence = session.first_sequence - 1
        await self.in_database(partial(move_position, self.feed, self.session_id, self.sequence))

    async def apply(self, messages: Sequence[FeedMessage]) -> None:
        """Apply what is new among the messages. Raises FeedDisconnected when a new session begins among them."""
        fresh: list[ExecutionReport | BadReport] = []
        new_session = False
        for message in messages:
            if isinstance(message, Session):
                if message.session_id != self.session_id:
                    # Its sequences begin anew, and would be taken for repeats here.
                    new_session = True
                    break
            elif message.sequence is None:
                # Whichever it was, it shows as a gap before the next.
                fresh.append(message)
            elif message.sequence > self.sequence:
                if message.sequence > self.sequence + 1:
                    await self.close_gap(fresh, message.sequence)
                    fresh = []
                fresh.append(message)
                self.sequence = message.sequence
        if fresh:
            await self.in_database(partial(apply_reports, fresh, self.session_id, self.feed, self.sequence))
        if new_session:
            raise FeedDisconnected("the exchange began a new session")

    async def close_gap(self, before: Sequence[ExecutionReport | BadReport], sequence: int) -> None:
        log.warning("reconciling", problem="gap", session_id=self.session_id, missing_from=self.sequence + 1, until=sequence)
        if before:
            await self.in_database(partial(apply_reports, before, self.session_id, self.feed, self.sequence))
        await self.reconcile_open_orders()

    async def reconcile_open_orders(self) -> None:
        """Look up every order that the exchange may be working on. Raises FeedDisconnected when it does not answer."""
        after = uuid.UUID(int=0)
        differing = count = 0
        while orders := await self.in_database(partial(open_orders, after)):
            found = await self.look_up_all(orders)
            differing += await self.in_database(partial(apply_found, found))
            count += len(orders)
            after = orders[-1].id
        log.info("reconciled", looked_up=count, differing=differing)

    async def look_up_all(self, orders: Sequence[Order]) -> dict[uuid.UUID, Found]:
        """What the exchange knows of the orders. Raises FeedDisconnected when it does not answer, or in another session."""
        slots = asyncio.Semaphore(LOOK_UPS_AT_ONCE)

        async def look_up(order: Order) -> Found | None:
            async with slots:
                return await self.look_up_until_answered(order)

        tasks = [asyncio.create_task(look_up(order)) for order in orders]
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return {order.id: found for order, found in zip(orders, outcomes, strict=True) if found is not None}

    async def look_up_until_answered(self, order: Order) -> Found | None:
        reason = ""
        for attempt in range(1, LOOK_UP_ATTEMPTS + 1):
            outcome = await self.gateway.look_up(placement(order, timezone.now()))
            if isinstance(outcome, Found):
                if outcome.session_id != self.session_id:
                    # Its `last_sequence` counts in a session that we do not follow yet.
                    raise FeedDisconnected("the exchange began a new session")
                return outcome
            if isinstance(outcome, NotFound | TermsConflict):
                if order.status == Status.COMPLETED:
                    log.error("order_missing_at_exchange", order_id=str(order.id), outcome=repr(outcome))
                return None
            reason = outcome.reason
            await asyncio.sleep(min(RECONNECT_CAP_S, RECONNECT_BASE_S * 2**attempt) * random.random())  # noqa: S311
        raise FeedDisconnected(f"look-ups fail while reconciling: {reason}")

    async def in_database(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.database, reconnecting, work)


def try_lock(feed: str) -> bool:
    """Become the active follower of `feed`, for as long as this thread's database connection lives."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", [LOCK_NUMBER, feed])
        [locked] = cursor.fetchone()
    return bool(locked)


def load_position(feed: str) -> FeedPosition:
    return FeedPosition.objects.filter(feed=feed).first() or FeedPosition(feed=feed, session_id="", sequence=0)


def open_orders(after: uuid.UUID, limit: int = BATCH_SIZE) -> list[Order]:
    """Orders after `after` that the exchange works on, or may have."""
    at_exchange = Order.objects.filter(execution_status__in=OPEN_EXECUTION) | Order.objects.filter(may_be_at_exchange=True)
    return list(at_exchange.filter(id__gt=after).order_by("id")[:limit])
