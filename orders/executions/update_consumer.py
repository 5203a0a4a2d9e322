"""Follow the exchange's feed: connect after the last applied report, apply in batches, and have missed orders looked up."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from django.db import transaction
from django.utils import timezone

from exchange.feed import ExecutionFeed, FeedDisconnected
from exchange.gateway import Gateway
from exchange.reports import BadReport, ExecutionReport, FeedMessage, Session
from orders.executions.feed_follower import FeedFollower, missing_before
from orders.executions.feed_positions import load_position, look_up_open_orders, move_position
from orders.executions.reports import apply_reports
from orders.models import FeedPosition
from orders.transport import TRANSPORTS

log = structlog.get_logger()

BATCH_SIZE = 500
# Reports that come close together share one transaction.
BATCH_INTERVAL_S = 0.01


class UpdateConsumer(FeedFollower):
    """Applies the reports itself, on the database connection that holds the lock.

    A consumer that loses the connection also loses the lock, so two can never apply at the same time.
    """

    def __init__(self, url: str, gateway: Gateway) -> None:
        super().__init__(url, gateway, TRANSPORTS["django_q"].feed)
        self.session_id = ""
        self.sequence = 0

    async def follow(self) -> None:
        """Follow one connection, from the stored position on. Raises FeedDisconnected, Superseded, DatabaseUnavailable."""
        position = await self.database.run(partial(load_position, self.feed))
        async with ExecutionFeed(self.url, after=position.sequence, session_id=position.session_id or None) as feed:
            self.connection.heard(feed.session.session_id, feed.session.last_sequence)
            await self.begin_session(feed.session, position)
            self.connection.made()
            self.silence.forget()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.apply_forever(feed))
                group.create_task(self.watch_for_silence(lambda: self.sequence))

    async def apply_forever(self, feed: ExecutionFeed) -> None:
        async for messages in feed.batches(BATCH_SIZE):
            self.silence.report_arrived()
            await self.apply(messages)
            self.backoff.reset()
            if len(messages) < BATCH_SIZE:
                await asyncio.sleep(BATCH_INTERVAL_S)

    async def begin_session(self, session: Session, position: FeedPosition) -> None:
        """Have all open orders looked up if the feed no longer has all reports. The feed is followed meanwhile."""
        self.session_id = session.session_id
        self.sequence = position.sequence
        if problem := missing_before(session, position):
            log.warning("reports_missing", problem=problem, session_id=session.session_id, first_sequence=session.first_sequence)
            self.sequence = session.first_sequence - 1
            await self.alone(self.pass_over_missing)

    @transaction.atomic
    def pass_over_missing(self) -> None:
        """Store the look-ups together with the position beyond the missing reports, so that a crash loses neither."""
        look_up_open_orders(self.feed, timezone.now())
        move_position(self.feed, self.session_id, self.sequence)

    async def apply(self, messages: Sequence[FeedMessage]) -> None:
        """Apply the new ones of the messages. Raises FeedDisconnected when a new session begins among them."""
        fresh: list[ExecutionReport | BadReport] = []
        new_session = False
        for message in messages:
            if isinstance(message, Session):
                if message.session_id != self.session_id:
                    # Its sequences start again and would be mistaken for repeats.
                    new_session = True
                    break
            elif message.sequence is None:
                # Its sequence is unreadable, so it will also show as a gap before the next report.
                fresh.append(message)
            elif message.sequence > self.sequence:
                if message.sequence > self.sequence + 1:
                    await self.close_gap(fresh, message.sequence)
                    fresh = []
                fresh.append(message)
                self.sequence = message.sequence
        self.connection.heard(self.session_id, self.sequence)
        if fresh:
            await self.alone(partial(apply_reports, fresh, self.session_id, self.feed, self.sequence))
        if new_session:
            raise FeedDisconnected("the exchange began a new session")

    async def close_gap(self, before: Sequence[ExecutionReport | BadReport], sequence: int) -> None:
        log.warning("reports_missing", problem="gap", session_id=self.session_id, first=self.sequence + 1, until=sequence)
        if before:
            await self.alone(partial(apply_reports, before, self.session_id, self.feed, self.sequence))
        await self.alone(partial(look_up_open_orders, self.feed, timezone.now()))
