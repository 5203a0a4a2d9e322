"""Wake-ups as tasks in django-q's table: queued in the transaction that makes orders due."""

import uuid
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_q.signing import SignedPackage

from orders.events.notify import ORDERS_DUE, listen, notify_after_commit

QUEUE = str(settings.Q_CLUSTER["name"])
WORKERS = int(str(settings.Q_CLUSTER["workers"]))
# A waiting task also serves later orders, so no more tasks than workers need to wait.
QUEUE_TASK = """
    INSERT INTO django_q_ormq (key, payload, lock) SELECT %(queue)s::text, %(task)s::text, now() WHERE %(workers)s::bigint > (
        SELECT count(*) FROM (
            SELECT FROM django_q_ormq WHERE key = %(queue)s::text AND lock <= now() LIMIT %(workers)s::bigint
        ) AS waiting
    )"""
DELETE_VISIBLE = """
    DELETE FROM django_q_ormq WHERE id IN (
        SELECT id FROM django_q_ormq WHERE key = %s AND lock <= now() FOR UPDATE SKIP LOCKED
    )"""


class QueuedWakeUps:
    """Wake-ups as a running loop sees them. It deletes the visible tasks, so that none is started for nothing."""

    def arrivals(self) -> AsyncIterator[None]:
        return listen(ORDERS_DUE)

    def begin_claim(self) -> None:
        delete_visible_tasks()

    def end_claim(self) -> None:
        """Nothing to do: the tasks were deleted before the claim, which can see the orders of all tasks visible then."""


def wake_workers(_order_ids: Sequence[uuid.UUID]) -> None:
    queue_task()


def notify_workers(_order_ids: Sequence[uuid.UUID]) -> None:
    notify_after_commit(ORDERS_DUE)


def wake_workers_again() -> None:
    queue_task()


def queue_task() -> None:
    """Queue a task in the caller's transaction. Running loops are notified when it commits."""
    with connection.cursor() as cursor:
        cursor.execute(QUEUE_TASK, task_parameters())
    notify_after_commit(ORDERS_DUE)


def task_parameters() -> dict[str, Any]:
    return {"queue": QUEUE, "task": task(), "workers": WORKERS}


@cache
def task() -> str:
    """The task in django-q's format: pickled and signed. All tasks of a process are the same."""
    call = {
        "id": uuid.uuid4().hex,
        "name": "wake-up",
        "func": "orders.placement.tasks.place_orders",
        "args": (),
        "kwargs": {},
        "ack_failure": True,
        "started": timezone.now(),
    }
    return str(SignedPackage.dumps(call))


def delete_visible_tasks() -> None:
    with connection.cursor() as cursor:
        cursor.execute(DELETE_VISIBLE, [QUEUE])
