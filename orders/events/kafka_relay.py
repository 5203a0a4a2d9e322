"""The outbox relay publishes every event to the topic `order_updates` at least once, each order's events in their order."""

import asyncio
from contextlib import suppress

import structlog
from django.utils import timezone

from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from infrastructure.database_thread import ActiveLock, DatabaseThread
from orders.events.notify import ORDER_EVENTS, listen
from orders.events.stream import FROM_THE_BEGINNING, Snapshot, encoded_events, events_since
from orders.kafka.clients import VERSION, AcknowledgedProducer, BrokerUnavailable
from orders.kafka.topics import EVENTS_PARTITION, ORDER_UPDATES, message_key
from orders.models import RelayPosition

log = structlog.get_logger()

RELAY = "order_updates"
PAGE_SIZE = 1000
# Notifications may be lost, so the relay looks for new events at least this often.
POLL_S = 0.25
STANDBY_S = 1.0
RETRY_S = 0.5


class OutboxRelay:
    """The active relay. A second one waits until the first is gone.

    It follows snapshots of the database as the live stream does, so that it does not miss transactions that commit out of
    order. Events of one order are written by transactions that lock its row, one after the other, and so are read and
    published in that order. The position moves after the broker has acknowledged everything up to it. After a crash some
    events are published again, and each of them again follows everything that was read before it.
    """

    def __init__(self) -> None:
        self.producer = AcknowledgedProducer()
        self.lock = ActiveLock(RELAY)
        self.database = DatabaseThread("relay")
        self.requested = asyncio.Event()

    async def run(self) -> None:
        """Publish until cancelled."""
        listening = asyncio.create_task(self.listen())
        try:
            while True:
                try:
                    if not await self.database.run(self.publish_new):
                        await asyncio.sleep(STANDBY_S)
                        continue
                except DatabaseUnavailable as error:
                    log.warning("database_unavailable", doing="relay events", error=one_line(error))
                    await asyncio.sleep(RETRY_S)
                except BrokerUnavailable as error:
                    log.warning("kafka_unavailable", doing="relay events", reason=str(error))
                    await asyncio.sleep(RETRY_S)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.requested.wait(), POLL_S)
                self.requested.clear()
        finally:
            listening.cancel()
            await self.database.close()
            await asyncio.to_thread(self.producer.close)

    async def listen(self) -> None:
        async for _ in listen(ORDER_EVENTS):
            self.requested.set()

    def publish_new(self) -> bool:
        """Publish new events and move the position. False when another relay is active.

        Raises DatabaseUnavailable, BrokerUnavailable: call it again then, and it starts from the same position.
        """
        if not self.lock.hold():
            return False
        stored = RelayPosition.objects.filter(relay=RELAY).first()
        known = Snapshot(stored.snapshot) if stored else FROM_THE_BEGINNING.snapshot
        for now, ids in events_since(known, PAGE_SIZE):  # noqa: B007 - the last one is used
            self.publish(ids)
        if ids:
            RelayPosition.objects.update_or_create(relay=RELAY, defaults={"snapshot": now.text, "updated_at": timezone.now()})
        return True

    def publish(self, ids: list[int]) -> None:
        """Publish the events. Raises BrokerUnavailable unless every event is acknowledged."""
        for event in encoded_events(ids):
            headers = {"version": VERSION, "account": str(event.account_id), "tx": str(event.tx)}
            self.producer.send(
                ORDER_UPDATES.full_name,
                event.text.encode(),
                key=message_key(event.order_id),
                headers=headers,
                partition=EVENTS_PARTITION,
            )
        self.producer.flush()
