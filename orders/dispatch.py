"""Wake-ups: how a placement loop learns that orders are due.

A wake-up carries nothing. The order row is the truth, so one that is lost, doubled or late costs a second at most.
"""

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from orders.doorbell import ORDERS_DUE, ring_after_commit

QUEUE = str(settings.Q_CLUSTER["name"])
DELETE_VISIBLE = """
    DELETE FROM django_q_ormq WHERE id IN (
        SELECT id FROM django_q_ormq WHERE key = %s AND lock <= now() FOR UPDATE SKIP LOCKED
    )"""


def wake_workers() -> None:
    """Queue one wake-up in the caller's transaction, and ring for loops that are running already when it commits."""
    async_task("orders.tasks.place_orders")
    ring_after_commit(ORDERS_DUE)


def waiting_wake_ups() -> int:
    """How many wake-ups wait in the queue, those that a worker is at not counted."""
    count: int = OrmQ.objects.filter(key=QUEUE, lock__lte=timezone.now()).count()
    return count


def delete_visible_wake_ups() -> None:
    """Called by a running loop right before it claims, which does all that the deleted wake-ups ask for."""
    with connection.cursor() as cursor:
        cursor.execute(DELETE_VISIBLE, [QUEUE])
