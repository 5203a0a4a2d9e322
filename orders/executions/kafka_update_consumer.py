"""Follow the exchange's feed and append it to the topic `executions`. Nothing slower than appending delays the feed.

The position moves after the broker has acknowledged all reports before it. Like all database work here, storing it runs
beside the appending, so that a slow or unavailable database never stalls the socket.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import structlog
from django.db import transaction
from django.utils import timezone

from exchange.feed import ExecutionFeed, FeedDisconnected
from exchange.gateway import Gateway
from exchange.reports import Envelope, Session, read_envelope
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from orders.executions.feed_follower import FeedFollower, Superseded, missing_before
from orders.executions.feed_positions import load_position, look_up_open_orders, move_position
from orders.kafka.clients import VERSION, AcknowledgedProducer, BrokerUnavailable
from orders.kafka.topics import EXECUTIONS, message_key
from orders.models import FeedPosition
from orders.transport import TRANSPORTS

log = structlog.get_logger()

BATCH_SIZE = 2000
RETRY_S = 0.5
# How far the stored position may be behind. After a crash the reports of this time are appended again.
STORE_INTERVAL_S = 0.25


@dataclass(slots=True)
class Position:
    """All reports up to `sequence` are in the topic. `gaps` is how often reports were missing before it."""

    session_id: str
    sequence: int
    gaps: int = 0


class AppendingUpdateConsumer(FeedFollower):
    """Appends the feed's messages to the topic and leaves applying them to the recorders.

    After a broken database connection two consumers may be active for a moment and append some reports twice. Recorders
    recognise the repeats.
    """

    def __init__(self, url: str, gateway: Gateway) -> None:
        super().__init__(url, gateway, TRANSPORTS["kafka"].feed)
        self.producer = AcknowledgedProducer()
        self.broker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="update-broker")
        self.position = self.stored = Position("", 0)

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        try:
            await super().run()
        finally:
            # A batch may be in progress. Reports that are not acknowledged in time are appended again.
            await asyncio.to_thread(self.broker.shutdown)
            await asyncio.to_thread(self.producer.close)

    async def follow(self) -> None:
        """Follow one connection of the feed. Raises a group of FeedDisconnected, Superseded, DatabaseUnavailable."""
        stored = await self.database.run(partial(load_position, self.feed))
        async with ExecutionFeed(self.url, after=stored.sequence, session_id=stored.session_id or None) as feed:
            self.connection.heard(feed.session.session_id, feed.session.last_sequence)
            await self.begin_session(feed.session, stored)
            self.connection.made()
            self.silence.forget()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.append_forever(feed))
                    group.create_task(self.store_forever())
                    group.create_task(self.watch_for_silence(lambda: self.position.sequence))
            finally:
                # If this fails, some reports are appended again.
                with suppress(DatabaseUnavailable):
                    await self.database.run(partial(self.store, replace(self.position)))

    def is_active(self) -> bool:
        """Take the lock again if the connection is new: appending reports twice does no harm."""
        return self.lock.hold()

    async def begin_session(self, session: Session, stored: FeedPosition) -> None:
        self.position = Position(session.session_id, stored.sequence)
        self.stored = replace(self.position)
        if problem := missing_before(session, stored):
            log.warning("reports_missing", problem=problem, session_id=session.session_id, first_sequence=session.first_sequence)
            self.position = Position(session.session_id, session.first_sequence - 1, gaps=1)
            await self.database.run(partial(self.store, replace(self.position)))

    async def append_forever(self, feed: ExecutionFeed) -> None:
        while True:
            messages = [read_envelope(frame) for frame in await feed.next_frames(BATCH_SIZE)]
            self.silence.report_arrived()
            await self.append(messages)
            self.backoff.reset()

    async def append(self, messages: Sequence[Session | Envelope]) -> None:
        """Append the new ones of the messages. Raises FeedDisconnected when a new session begins among them."""
        sequence = self.position.sequence
        fresh: list[Envelope] = []
        new_session = gap = False
        for message in messages:
            if isinstance(message, Session):
                if message.session_id != self.position.session_id:
                    # Its sequences start again and would be mistaken for repeats.
                    new_session = True
                    break
            elif message.sequence is None:
                fresh.append(message)
            elif message.sequence > sequence:
                gap = gap or message.sequence > sequence + 1
                fresh.append(message)
                sequence = message.sequence
        self.connection.heard(self.position.session_id, sequence)
        if gap:
            log.warning("reports_missing", problem="gap", session_id=self.position.session_id, until=sequence)
            # Counted before the position moves beyond the gap, so that the position is never stored without it.
            self.position.gaps += 1
        await self.send_until_acknowledged(fresh)
        self.position.sequence = sequence
        if new_session:
            raise FeedDisconnected("the exchange began a new session")

    async def send_until_acknowledged(self, messages: Sequence[Envelope]) -> None:
        """Send until the broker acknowledges. While it is unavailable we read no more: the exchange retains its reports."""
        is_unavailable = False
        while messages:
            try:
                await asyncio.get_running_loop().run_in_executor(self.broker, self.send, messages)
                break
            except BrokerUnavailable as error:
                if not is_unavailable:
                    log.warning("kafka_unavailable", doing="append reports", reason=str(error))
                is_unavailable = True
                await asyncio.sleep(RETRY_S)
        if is_unavailable:
            log.info("kafka_available", doing="append reports")

    def send(self, messages: Sequence[Envelope]) -> None:
        headers = {"version": VERSION, "session": self.position.session_id}
        for message in messages:
            key = message_key(message.client_order_id)
            self.producer.send(EXECUTIONS.full_name, message.frame, key=key, headers=headers)
        self.producer.flush()

    async def store_forever(self) -> None:
        """Store the position whenever it has moved. Raises Superseded."""
        is_unavailable = False
        while True:
            await asyncio.sleep(STORE_INTERVAL_S)
            try:
                if not await self.database.run(self.lock.hold):
                    raise Superseded
                if self.position != self.stored:
                    await self.database.run(partial(self.store, replace(self.position)))
                is_unavailable = False
            except DatabaseUnavailable as error:
                if not is_unavailable:
                    log.warning("database_unavailable", doing="store position", error=one_line(error))
                is_unavailable = True

    def store(self, position: Position) -> None:
        """Store the position together with the look-ups for missing reports before it, so that a crash loses neither."""
        with transaction.atomic():
            if position.gaps > self.stored.gaps:
                look_up_open_orders(self.feed, timezone.now())
            move_position(self.feed, position.session_id, position.sequence)
        self.stored = position
