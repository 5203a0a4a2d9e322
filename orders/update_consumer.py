"""Following the exchange's feed: connect after the last applied report, apply in batches, reconcile what was missed."""

import asyncio
import random
from collections.abc import Sequence
from functools import partial

import structlog
from django.db import InterfaceError, OperationalError

from exchange.feed import ExecutionFeed, FeedDisconnected
from exchange.gateway import Gateway
from exchange.reports import BadReport, ExecutionReport, FeedMessage, Session
from orders.database_thread import ActiveLock, DatabaseThread
from orders.executions import apply_reports
from orders.feed_connection import ConnectionState
from orders.feeds import FEEDS, load_position, move_position, register_session
from orders.models import FeedPosition
from orders.reconciling import Reconciler

log = structlog.get_logger()

BATCH_SIZE = 500
# Reports that come close together share one transaction.
BATCH_INTERVAL_S = 0.01
RECONNECT_BASE_S = 0.1
RECONNECT_CAP_S = 5.0
STANDBY_S = 1.0
DATABASE_RETRY_S = 0.5


class UpdateConsumer:
    """The one active follower of a feed; a second one waits until the first has gone.

    Being active is a lock that belongs to the database connection which also applies the reports: whoever loses the
    connection loses both at once, so two can never apply at the same time.
    """

    def __init__(self, url: str, gateway: Gateway, *, feed: str = FEEDS["django_q"]) -> None:
        self.url = url
        self.feed = feed
        self.lock = ActiveLock(feed)
        self.database = DatabaseThread("update-database")
        self.reconciler = Reconciler(gateway, self.database)
        self.session_id = ""
        self.sequence = 0
        self.back_off = BackOff()
        self.connection = ConnectionState()

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.connection.tell_forever(self.feed, self.database))
                await self.follow_forever()
        finally:
            await self.database.close()

    async def follow_forever(self) -> None:
        while True:
            try:
                await self.wait_until_active()
                await self.follow()
            except FeedDisconnected as ended:
                log.warning("feed_disconnected", reason=str(ended))
                self.connection.lost(str(ended))
                await self.back_off.wait()
            except (OperationalError, InterfaceError) as error:
                log.warning("database_away", doing="apply reports", error=str(error).strip())
                self.connection.lost("the database was away")
                await asyncio.sleep(DATABASE_RETRY_S)

    async def wait_until_active(self) -> None:
        self.connection.is_ours = False
        while not await self.database.run(self.lock.hold):  # noqa: ASYNC110 - a lock has no event to wait for
            await asyncio.sleep(STANDBY_S)
        self.connection.is_ours = True

    async def follow(self) -> None:
        """One connection of the feed, from the stored position on. Raises FeedDisconnected, OperationalError."""
        position = await self.database.run(partial(load_position, self.feed))
        async with ExecutionFeed(self.url, after=position.sequence, session_id=position.session_id or None) as feed:
            self.connection.heard(feed.session.session_id, feed.session.last_sequence)
            await self.begin_session(feed.session, position)
            self.connection.made()
            async for messages in feed.batches(BATCH_SIZE):
                await self.apply(messages)
                self.back_off.reset()
                if len(messages) < BATCH_SIZE:
                    await asyncio.sleep(BATCH_INTERVAL_S)

    async def begin_session(self, session: Session, position: FeedPosition) -> None:
        """Find out what cannot be had from the feed any more, and get it by looking up the open orders."""
        self.session_id = session.session_id
        self.sequence = position.sequence
        problem = missing_before(session, position)
        if problem is None:
            return
        log.warning("reconciling", problem=problem, session_id=session.session_id, first_sequence=session.first_sequence)
        await self.database.run(partial(register_session, session.session_id))
        await self.reconciler.reconcile(self.session_id)
        self.sequence = session.first_sequence - 1
        await self.database.run(partial(move_position, self.feed, self.session_id, self.sequence))

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
        self.connection.heard(self.session_id, self.sequence)
        if fresh:
            await self.database.run(partial(apply_reports, fresh, self.session_id, self.feed, self.sequence))
        if new_session:
            raise FeedDisconnected("the exchange began a new session")

    async def close_gap(self, before: Sequence[ExecutionReport | BadReport], sequence: int) -> None:
        log.warning("reconciling", problem="gap", session_id=self.session_id, missing_from=self.sequence + 1, until=sequence)
        if before:
            await self.database.run(partial(apply_reports, before, self.session_id, self.feed, self.sequence))
        await self.reconciler.reconcile(self.session_id)


class BackOff:
    """Random and growing pauses between connections, until one of them brought something."""

    def __init__(self) -> None:
        self.failures = 0

    async def wait(self) -> None:
        ceiling_s = min(RECONNECT_CAP_S, RECONNECT_BASE_S * 2 ** min(self.failures, 16))
        self.failures += 1
        # Full jitter, as for placements.
        await asyncio.sleep(ceiling_s * random.random())  # noqa: S311 - nothing secret

    def reset(self) -> None:
        self.failures = 0


def missing_before(session: Session, position: FeedPosition) -> str | None:
    """Why reports may be missing between `position` and what the feed still has, or None."""
    if session.session_id != position.session_id:
        return "new session"
    if session.first_sequence > position.sequence + 1:
        return "gap"
    if position.sequence > session.last_sequence:
        return "position beyond the end of the feed"
    return None
