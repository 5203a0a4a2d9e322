"""The outbox relay: every order event to the topic `order_updates`, in order for each order, at least once."""

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
from orders.kafka.topics import EVENTS_PARTITION, ORDER_UPDATES
from orders.models import RelayPosition

log = structlog.get_logger()

RELAY = "order_updates"
PAGE_SIZE = 1000
# Whoever listen may be unable to; nothing waits longer than this.
POLL_S = 0.25
STANDBY_S = 1.0
RETRY_S = 0.5


class OutboxRelay:
    """The one active relay; a second one waits until the first has gone.

    It follows snapshots of the database as the live stream does, so that transactions that commit out of order are not
    missed. Events of one order are written by transactions that lock its row, one after the other, and so are read and
    published in that order. The position moves after the broker has acknowledged everything up to it; after a crash
    some events are published again, and before each of them stands everything that was read before it.
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
        """Publish what is new, and move the position; False when another relay is the active one.

        Raises DatabaseUnavailable, BrokerUnavailable: then it is to be done again from the same position.
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
        """Raises BrokerUnavailable unless every event is acknowledged."""
        for event in encoded_events(ids):
            headers = {"version": VERSION, "account": str(event.account_id), "tx": str(event.tx)}
            self.producer.send(
                ORDER_UPDATES.full_name,
                event.text.encode(),
                key=str(event.order_id),
                headers=headers,
                partition=EVENTS_PARTITION,
            )
        self.producer.flush()
