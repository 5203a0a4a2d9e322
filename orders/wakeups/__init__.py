"""Wake-ups: how placement loops learn that orders are due, over either transport.

A wake-up carries nothing that counts. The order row is the truth, so one that is lost, doubled or late costs a second
at most.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_q.signing import SignedPackage

from infrastructure.database.clock import database_now
from orders.events.notify import ORDERS_DUE, after_commit, ring_after_commit, rings
from orders.models import Order

if TYPE_CHECKING:
    from orders.wakeups.kafka import OrdersProducer

QUEUE = str(settings.Q_CLUSTER["name"])
WORKERS = int(str(settings.Q_CLUSTER["workers"]))
# A task that waits already will do for more orders, as long as there is one for each worker.
QUEUE_WAKE_UP = """
    INSERT INTO django_q_ormq (key, payload, lock) SELECT %(queue)s::text, %(wake_up)s::text, now() WHERE %(workers)s::bigint > (
        SELECT count(*) FROM (
            SELECT FROM django_q_ormq WHERE key = %(queue)s::text AND lock <= now() LIMIT %(workers)s::bigint
        ) AS waiting
    )"""
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
        tell_workers(order_ids)
    else:
        queue_wake_up()


def queue_wake_up() -> None:
    """A task of django-q in the caller's transaction, and a ring for loops that are running already when it commits."""
    with connection.cursor() as cursor:
        cursor.execute(QUEUE_WAKE_UP, wake_up_parameters())
    ring_after_commit(ORDERS_DUE)


def tell_workers(order_ids: Sequence[uuid.UUID]) -> None:
    """Tell those that are running, when the caller's transaction commits; it has queued the task, if one is needed."""
    if settings.ORDER_TRANSPORT == "kafka":
        after_commit(partial(orders_producer().publish, order_ids))
    else:
        ring_after_commit(ORDERS_DUE)


def wake_up_parameters() -> dict[str, Any]:
    """Of QUEUE_WAKE_UP, which queues nothing when Kafka carries the wake-ups."""
    return {"queue": QUEUE, "wake_up": wake_up(), "workers": 0 if settings.ORDER_TRANSPORT == "kafka" else WORKERS}


@cache
def wake_up() -> str:
    """The task as django-q wants it: pickled and signed. All wake-ups of a process are the same."""
    task = {
        "id": uuid.uuid4().hex,
        "name": "wake-up",
        "func": "orders.placement.tasks.place_orders",
        "args": (),
        "kwargs": {},
        "ack_failure": True,
        "started": timezone.now(),
    }
    return str(SignedPackage.dumps(task))


def wake_workers_again() -> None:
    """The sweep's wake-ups for orders that are due already."""
    if settings.ORDER_TRANSPORT == "kafka":
        tell_workers(list(Order.objects.due(database_now()).values_list("id", flat=True)[:WAKE_UPS_OF_SWEEP]))
    else:
        queue_wake_up()


def delete_visible_wake_ups() -> None:
    with connection.cursor() as cursor:
        cursor.execute(DELETE_VISIBLE, [QUEUE])


def orders_producer() -> "OrdersProducer":
    from orders.wakeups.kafka import orders_producer  # noqa: PLC0415 - librdkafka, 11 MB that others need not have

    return orders_producer
