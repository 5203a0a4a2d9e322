"""The live stream from Kafka: one reader of the topic `order_updates` for all connections of this process."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from infrastructure.database.unavailable import one_line
from notifications.audience import Audience
from notifications.database import DatabaseThreads, ReadsUnavailable
from orders.events.stream import EVENTS_PER_PAGE, current_snapshot
from orders.kafka.clients import VERSION, Record, new_consumer, read_batch
from orders.kafka.topics import EVENTS_PARTITION, ORDER_UPDATES, TopicsWanted

log = structlog.get_logger()
T = TypeVar("T")

# How long one read waits for messages, and so how long a client may have to wait to join.
POLL_S = 0.05
OFFSETS_TIMEOUT_S = 3.0
RETRY_S = 0.5


class TopicStream:
    """Offers every message of the topic to the clients that may see it and that have not read its event from the table.

    Each process reads the whole topic from when it started. A connection joins between two reads, at a snapshot of the
    database. It is not offered events that the snapshot saw, however far the topic has been read. All other events are
    committed, published and read after that. Nothing is lost if Kafka is unavailable for less than its retention.
    """

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._database = DatabaseThreads(1, "live-events")
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="topic-reader")

    async def run(self) -> None:
        """Read until cancelled."""
        consumer = await self._begin()
        try:
            while True:
                if self._audience.is_awaited:
                    await self._let_in()
                await self._offer(await self._on_reader(partial(read_batch, consumer, EVENTS_PER_PAGE, POLL_S)))
        finally:
            await self._on_reader(consumer.close)

    async def close(self) -> None:
        await self._database.close()
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def _on_reader(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    async def _begin(self) -> Consumer:
        """A consumer at the end of the topic, which must be known before any client joins. Waits for Kafka.

        It waits in small steps, since a waiting thread cannot be interrupted.
        """
        wanted = await self._on_reader(partial(TopicsWanted, ORDER_UPDATES))
        while not await self._on_reader(wanted.are_there):  # noqa: ASYNC110 - a broker has no event to wait for
            await asyncio.sleep(RETRY_S)
        # A group with only this consumer, which commits no offsets.
        consumer = await self._on_reader(partial(new_consumer, f"notifications-{uuid.uuid4()}"))
        partition = TopicPartition(ORDER_UPDATES.full_name, EVENTS_PARTITION)
        while True:
            try:
                _low, partition.offset = await self._on_reader(
                    partial(consumer.get_watermark_offsets, partition, timeout=OFFSETS_TIMEOUT_S)
                )
            except KafkaException as error:
                log.warning("kafka_unavailable", doing="find the end of the topic", reason=error.args[0].str())
                await asyncio.sleep(RETRY_S)
            else:
                consumer.assign([partition])
                return consumer

    async def _let_in(self) -> None:
        try:
            self._audience.admit(await self._database.run(current_snapshot))
        except ReadsUnavailable as error:
            log.warning("database_unavailable", doing="let clients in", error=one_line(error))
            await asyncio.sleep(RETRY_S)
        self._audience.activate()

    async def _offer(self, records: Sequence[Record]) -> None:
        for record in records:
            try:
                account_id, tx, text = read_message(record)
            except ValueError as error:
                log.warning("message_not_understood", reason=str(error), offset=record.offset)
                continue
            for connection, joined_at in self._audience.recipients(account_id):
                if not joined_at.saw(tx):
                    connection.offer(text)
        if records:
            await self._audience.apply_backpressure()


def read_message(record: Record) -> tuple[int, int, str]:
    """Account, transaction and text of an event. Raises ValueError for messages that the relay does not write."""
    if record.headers.get("version") != VERSION:
        raise ValueError(f"version {record.headers.get('version')} is not known")
    return int(record.headers.get("account", "")), int(record.headers.get("tx", "")), record.value.decode()
