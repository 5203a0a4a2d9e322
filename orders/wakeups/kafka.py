"""Wake-ups through the topic `orders`: sent after the commit that makes orders due, read by exchange consumers."""

import asyncio
import os
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from django.conf import settings

from infrastructure.database.clock import database_now
from orders.events.notify import after_commit
from orders.kafka.clients import VERSION, Record, new_consumer, new_producer, next_offsets, read_batch
from orders.kafka.topics import ORDERS, message_key
from orders.models import Order

log = structlog.get_logger()

# By the time that a wake-up has waited this long, the sweep has sent another one.
WAKE_UP_TIMEOUT_MS = 3000
POLL_S = 0.5
MESSAGES_PER_READ = 1000
# The most messages to keep while no claim follows, for example while the exchange is unavailable. Older ones are dropped; at
# worst they are read once more after a restart.
MESSAGES_KEPT = 10_000
# The most wake-ups that the sweep sends in one round: enough for every partition, so that every consumer gets some.
WAKE_UPS_OF_SWEEP = 200


class OrdersProducer:
    """Sends wake-ups without ever waiting for the broker. A lost one costs a second, until the sweep sends the next."""

    def __init__(self) -> None:
        self.key: object = None
        self.lock = threading.Lock()
        self.is_unavailable = False

    def publish(self, order_ids: Sequence[uuid.UUID]) -> None:
        """Send one wake-up for each order."""
        producer = self.producer()
        try:
            for order_id in order_ids:
                value = orjson.dumps({"version": int(VERSION), "order_id": order_id})
                producer.produce(ORDERS.full_name, value, key=message_key(order_id), on_delivery=self.delivered)
        except BufferError:
            self.tell_unavailable("too many wake-ups are already waiting")
        except KafkaException as error:
            # The order is committed, so its client must not get an error. Replace the producer, which may have failed for good.
            self.tell_unavailable(error.args[0].str())
            self.key = None
        producer.poll(0)

    def producer(self) -> Producer:
        """The producer of this process: its threads do not survive a fork."""
        key = os.getpid(), settings.KAFKA_BOOTSTRAP_SERVERS
        with self.lock:
            if self.key != key:
                self.key = key
                self._producer = new_producer(**{"delivery.timeout.ms": WAKE_UP_TIMEOUT_MS, "linger.ms": 1})
            return self._producer

    def delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.tell_unavailable(error.str())
        elif self.is_unavailable:
            self.is_unavailable = False
            log.info("kafka_available", doing="wake workers")

    def tell_unavailable(self, reason: str) -> None:
        """Log it once, and not for each order while Kafka is unavailable."""
        if not self.is_unavailable:
            self.is_unavailable = True
            log.warning("kafka_unavailable", doing="wake workers", reason=reason)


orders_producer = OrdersProducer()


def wake_workers(order_ids: Sequence[uuid.UUID]) -> None:
    after_commit(partial(orders_producer.publish, order_ids))


def notify_workers(order_ids: Sequence[uuid.UUID]) -> None:
    wake_workers(order_ids)


def wake_workers_again() -> None:
    wake_workers(list(Order.objects.due(database_now()).values_list("id", flat=True)[:WAKE_UPS_OF_SWEEP]))


def task_parameters() -> dict[str, Any]:
    """Parameters that queue no task."""
    return {"queue": "", "task": "", "workers": 0}


class OrdersTopic:
    """One exchange consumer's view of the topic. Its offsets are committed after the claim that the messages caused.

    A message says only that something is due, so its content does not matter: a claim takes all due orders, and even an
    unreadable message is a wake-up.
    """

    def __init__(self) -> None:
        self.consumer = new_consumer(ORDERS.group or "", **{"enable.auto.commit": True, "auto.commit.interval.ms": 500})
        self.lock = threading.Lock()
        # The messages that have arrived since the last claim began, and those from before it.
        self.read: list[Record] = []
        self.claiming: list[Record] = []
        self.is_closed = False

    async def arrivals(self) -> AsyncIterator[None]:
        """Yield after messages arrive; several may count as one. Never ends by itself."""
        arrived = asyncio.Event()
        reading = asyncio.create_task(self.read_forever(arrived.set))
        try:
            while True:
                await arrived.wait()
                arrived.clear()
                yield
        finally:
            reading.cancel()

    async def read_forever(self, tell: Callable[[], None]) -> None:
        self.consumer.subscribe([ORDERS.full_name])
        while not self.is_closed:
            if await asyncio.to_thread(self.read_some):
                tell()

    def read_some(self) -> int:
        """Wait for messages for at most `POLL_S`. Return how many arrived."""
        records = read_batch(self.consumer, MESSAGES_PER_READ, POLL_S)
        with self.lock:
            self.read = (self.read + records)[-MESSAGES_KEPT:]
        return len(records)

    def begin_claim(self) -> None:
        """Called right before a claim, which serves all messages read so far."""
        with self.lock:
            self.claiming, self.read = self.read, []

    def end_claim(self) -> None:
        """Called when the claim is committed: mark its messages as done."""
        for end in next_offsets(self.claiming):
            # If the partition has moved to another member, that one reads the messages again and finds nothing due.
            with suppress(KafkaException):
                self.consumer.store_offsets(offsets=[end])

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self.is_closed = True
        self.consumer.close()
