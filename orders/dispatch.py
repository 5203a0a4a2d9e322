"""Wake-ups: how placement loops learn that orders are due, over either transport.

A wake-up carries nothing that counts. The order row is the truth, so one that is lost, doubled or late costs a second
at most.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from orders.doorbell import ORDERS_DUE, ring_after_commit, rings
from orders.models import Order

if TYPE_CHECKING:
    from orders.kafka.wake_ups import OrdersProducer

QUEUE = str(settings.Q_CLUSTER["name"])
WORKERS = int(str(settings.Q_CLUSTER["workers"]))
DELETE_VISIBLE = """
    DELETE FROM django_q_ormq WHERE id IN (
        SELECT id FROM django_q_ormq WHERE key = %s AND lock <= now() FOR UPDATE SKIP LOCKED
    )"""
# As many wake-ups the sweep sends at most in one round: enough for every partition, so that every consumer hears of it.
WAKE_UPS_OF_SWEEP = 200


class WakeUps(Protocol):
    """A running loop's view of the transport."""

    def arrivals(self) -> AsyncIterator[None]:
        """Yields after wake-ups came, several counting as one; never ends by itself."""
        ...

    def begin_claim(self) -> None:
        """Called right before a claim, which does all that the wake-ups seen so far ask for."""
        ...

    def end_claim(self) -> None:
        """The claim is committed: these wake-ups have done their work."""
        ...


class QueuedWakeUps:
    """Those in django-q's table. A running loop deletes what it can see, so that no task is started for nothing."""

    def arrivals(self) -> AsyncIterator[None]:
        return rings(ORDERS_DUE)

    def begin_claim(self) -> None:
        delete_visible_wake_ups()

    def end_claim(self) -> None:
        """They were deleted before: a wake-up that is visible belongs to an order that the claim can see."""


def wake_workers(order_ids: Sequence[uuid.UUID]) -> None:
    """Let workers know, when the caller's transaction commits, that these orders are due."""
    if settings.ORDER_TRANSPORT == "kafka":
        transaction.on_commit(partial(orders_producer().publish, order_ids))
        return
    queue_wake_up()


def queue_wake_up() -> None:
    """One task of django-q in the caller's transaction, and a ring for loops that are running already when it commits."""
    async_task("orders.tasks.place_orders")
    ring_after_commit(ORDERS_DUE)


def wake_workers_again() -> None:
    """The sweep's wake-ups for orders that are due already; none while enough wait in django-q's queue."""
    if settings.ORDER_TRANSPORT == "kafka":
        due = Order.objects.filter(next_attempt_at__lte=timezone.now()).order_by("next_attempt_at", "id")
        wake_workers(list(due.values_list("id", flat=True)[:WAKE_UPS_OF_SWEEP]))
    elif waiting_wake_ups() < WORKERS:
        queue_wake_up()


def waiting_wake_ups() -> int:
    """How many wake-ups wait in the queue, those that a worker is at not counted."""
    count: int = OrmQ.objects.filter(key=QUEUE, lock__lte=timezone.now()).count()
    return count


def delete_visible_wake_ups() -> None:
    with connection.cursor() as cursor:
        cursor.execute(DELETE_VISIBLE, [QUEUE])


def orders_producer() -> "OrdersProducer":
    from orders.kafka.wake_ups import orders_producer  # noqa: PLC0415 - librdkafka, 11 MB that others need not have

    return orders_producer
