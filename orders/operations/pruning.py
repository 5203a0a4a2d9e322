"""Remove the history of orders that were settled long ago. The orders themselves stay.

These always stay: the whole history of every order that is not settled, has a recent event, or has an event that the outbox
relay has not published; the history of orders that limits refused, since a repeat is answered from it; and the events of
halts and limits. A client that tries to resume after a removed event is told so (close code 4404) and reads `GET /orders`.
"""

import os
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from orders.models import Order, RelayPosition
from orders.operations.restore import SAW_EVERYTHING
from orders.order_ids import first_id_at
from orders.states import TERMINAL_EXECUTION, ErrorCode, Status

ORDERS_AT_ONCE = 500
# A repeated report is recognised by its event. Kafka keeps reports for 7 days and may deliver any of them again.
SHORTEST_RETENTION_DAYS = 8
DELETE = """
    DELETE FROM orders_orderevent AS event USING orders_order AS o
    WHERE o.id = ANY(%(orders)s) AND event.order_id = o.id AND o.next_attempt_at IS NULL
      AND o.error_code IS DISTINCT FROM %(refused)s AND (o.status = ANY(%(settled)s) OR o.execution_status = ANY(%(ended)s))
      AND NOT EXISTS (
        SELECT FROM orders_orderevent AS kept WHERE kept.order_id = o.id
           AND (kept.recorded_at >= %(before)s OR NOT pg_visible_in_snapshot(kept.tx, %(published)s::pg_snapshot)))
    RETURNING row_to_json(event)::text"""


def prune_events(before: datetime, archive: Path | None = None) -> Iterator[int]:
    """Remove the events of settled orders without an event since `before`. Yield how many each step removed.

    Removed events are first appended to `archive` as JSON lines. After a crash some may be there twice, but none is missing.
    Safe to repeat and to interrupt.
    """
    after = uuid.UUID(int=0)
    while True:
        page = Order.objects.filter(id__gt=after, id__lt=first_id_at(before)).order_by("id")
        ids = list(page.values_list("id", flat=True)[:ORDERS_AT_ONCE])
        if not ids:
            return
        yield prune_page(ids, before, archive)
        after = ids[-1]


@transaction.atomic
def prune_page(ids: list[uuid.UUID], before: datetime, archive: Path | None) -> int:
    # Skip orders that another transaction is changing: they may not be settled.
    locked = Order.objects.select_for_update(skip_locked=True).filter(id__in=ids).order_by("id").values_list("id", flat=True)
    relay = RelayPosition.objects.first()
    parameters: dict[str, Any] = {
        "orders": list(locked),
        "settled": [Status.FAILED.value, Status.CANCELED.value],
        "refused": ErrorCode.REFUSED_BY_LIMITS.value,
        "ended": [status.value for status in TERMINAL_EXECUTION],
        "before": before,
        "published": SAW_EVERYTHING if relay is None else relay.snapshot,
    }
    with connection.cursor() as cursor:
        cursor.execute(DELETE, parameters)
        lines = [line for (line,) in cursor.fetchall()]
    if archive is not None and lines:
        append(archive, lines)
    return len(lines)


def append(archive: Path, lines: list[str]) -> None:
    with archive.open("a") as file:
        file.writelines(line + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
