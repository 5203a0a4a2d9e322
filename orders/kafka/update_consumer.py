"""Following the exchange's feed into the topic `executions`: nothing slower than appending stands in its way.

The position moves after the broker has acknowledged what is before it. It is stored beside the appending, as is all
other database work here, so that a slow or missing database never stalls the socket.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import structlog
from django.db import InterfaceError, OperationalError

from exchange.feed import ExecutionFeed, FeedDisconnected
from exchange.gateway import Gateway
from exchange.reports import Envelope, Session, read_envelope
from lemon_market.database.away import one_line
from orders.feed_follower import FeedFollower, Superseded, missing_before
from orders.feeds import FEEDS, last_event, load_position, move_position
from orders.kafka.clients import VERSION, AcknowledgedProducer, BrokerAway
from orders.kafka.topics import EXECUTIONS
from orders.models import FeedPosition
from orders.reconciling import SessionEnded, begin_anew

log = structlog.get_logger()

BATCH_SIZE = 2000
RETRY_S = 0.5
# How far the stored position may be behind: what lies between is appended a second time after a crash.
STORE_INTERVAL_S = 0.25
# Kafka keys and partitions are for orders; whatever is longer is none of ours.
MAX_KEY_LENGTH = 64


@dataclass(slots=True)
class Position:
    """Up to where everything is in the topic, and which look-ups have to make up for what the feed could not tell.

    `reconcile_events_after` is that of FeedPosition.
    """

    session_id: str
    sequence: int
    reconcile_events_after: int | None = None

    def want_reconciliation(self, last_event: int) -> None:
        """One that is wanted already concerns what this one does, and more."""
        if self.reconcile_events_after is None:
            self.reconcile_events_after = last_event


class AppendingUpdateConsumer(FeedFollower):
    """Appends what the feed says, and leaves it to recorders to apply it.

    Two that are active for a moment, after a broken database connection, append some reports twice, which recorders
    do not mind.
    """

    def __init__(self, url: str, gateway: Gateway) -> None:
        super().__init__(url, gateway, FEEDS["kafka"])
        self.producer = AcknowledgedProducer()
        self.broker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="update-broker")
        self.position = self.stored = Position("", 0)
        # An event that was there before any report was appended that is not appended yet.
        self.last_event = 0
        self.reconciliation_wanted = asyncio.Event()

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        try:
            await super().run()
        finally:
            # It may be in the middle of a batch. What is not acknowledged in time is appended again.
            await asyncio.to_thread(self.broker.shutdown)
            await asyncio.to_thread(self.producer.close)

    async def follow(self) -> None:
        """One connection of the feed. Raises a group of FeedDisconnected, Superseded, OperationalError."""
        stored = await self.database.run(partial(load_position, self.feed))
        async with ExecutionFeed(self.url, after=stored.sequence, session_id=stored.session_id or None) as feed:
            self.connection.heard(feed.session.session_id, feed.session.last_sequence)
            await self.begin_session(feed.session, stored)
            self.connection.made()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.append_forever(feed))
                    group.create_task(self.store_forever())
                    group.create_task(self.reconcile_when_wanted())
            finally:
                # What is lost here is appended again.
                with suppress(OperationalError, InterfaceError):
                    await self.database.run(partial(self.store, replace(self.position)))

    async def begin_session(self, session: Session, stored: FeedPosition) -> None:
        self.position = Position(session.session_id, stored.sequence, stored.reconcile_events_after)
        self.stored = replace(self.position)
        self.last_event = await self.database.run(last_event)
        if problem := missing_before(session, stored):
            log.warning("reconciling", problem=problem, session_id=session.session_id, first_sequence=session.first_sequence)
            await self.database.run(partial(begin_anew, session))
            self.position.sequence = session.first_sequence - 1
            self.position.want_reconciliation(self.last_event)
            await self.database.run(partial(self.store, replace(self.position)))
        if self.position.reconcile_events_after is not None:
            self.reconciliation_wanted.set()

    async def append_forever(self, feed: ExecutionFeed) -> None:
        while True:
            messages = [read_envelope(frame) for frame in await feed.next_frames(BATCH_SIZE)]
            await self.append(messages)
            self.back_off.reset()

    async def append(self, messages: Sequence[Session | Envelope]) -> None:
        """Append what is new among the messages. Raises FeedDisconnected when a new session begins among them."""
        sequence = self.position.sequence
        fresh: list[Envelope] = []
        new_session = gap = False
        for message in messages:
            if isinstance(message, Session):
                if message.session_id != self.position.session_id:
                    # Its sequences begin anew, and would be taken for repeats here.
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
            log.warning("reconciling", problem="gap", session_id=self.position.session_id, until=sequence)
            # Before the position moves beyond the gap, so that it is never stored without this.
            self.position.want_reconciliation(self.last_event)
            self.reconciliation_wanted.set()
        await self.send_until_acknowledged(fresh)
        self.position.sequence = sequence
        if new_session:
            raise FeedDisconnected("the exchange began a new session")

    async def send_until_acknowledged(self, messages: Sequence[Envelope]) -> None:
        """While the broker is away the exchange has to wait: what it retains comes to us later."""
        is_away = False
        while messages:
            try:
                await asyncio.get_running_loop().run_in_executor(self.broker, self.send, messages)
                break
            except BrokerAway as error:
                if not is_away:
                    log.warning("kafka_away", doing="append reports", reason=str(error))
                is_away = True
                await asyncio.sleep(RETRY_S)
        if is_away:
            log.info("kafka_back", doing="append reports")

    def send(self, messages: Sequence[Envelope]) -> None:
        headers = {"version": VERSION, "session": self.position.session_id}
        for message in messages:
            key = message.client_order_id
            self.producer.send(
                EXECUTIONS.full_name, message.frame, key=key if key and len(key) <= MAX_KEY_LENGTH else None, headers=headers
            )
        self.producer.flush()

    async def store_forever(self) -> None:
        """Store the position as it moves. Raises Superseded."""
        is_away = False
        while True:
            await asyncio.sleep(STORE_INTERVAL_S)
            try:
                if not await self.database.run(self.lock.hold):
                    raise Superseded
                if self.position != self.stored:
                    await self.database.run(partial(self.store, replace(self.position)))
                self.last_event = await self.database.run(last_event)
                is_away = False
            except (OperationalError, InterfaceError) as error:
                if not is_away:
                    log.warning("database_away", doing="store position", error=one_line(error))
                is_away = True

    def store(self, position: Position) -> None:
        move_position(self.feed, position.session_id, position.sequence, reconcile_events_after=position.reconcile_events_after)
        self.stored = position

    async def reconcile_when_wanted(self) -> None:
        """While look-ups fail, appending goes on. Raises SessionEnded, since a feed may be silent about its end."""
        while True:
            await self.reconciliation_wanted.wait()
            self.reconciliation_wanted.clear()
            try:
                await self.reconciler.reconcile(self.position.session_id, self.position.reconcile_events_after)
            except SessionEnded:
                raise
            except (FeedDisconnected, OperationalError, InterfaceError) as error:
                log.warning("not_reconciled", reason=one_line(error))
                self.reconciliation_wanted.set()
                await asyncio.sleep(RETRY_S)
            # A gap that was found meanwhile wants another.
            if not self.reconciliation_wanted.is_set():
                self.position.reconcile_events_after = None
