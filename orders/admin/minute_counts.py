"""How many orders were accepted and how many were placed, by minute.

A past minute no longer changes, so it is counted once and cached; a page that refreshes itself then counts only the newest
two minutes. The first page after a start counts a whole day: two index ranges for each minute, from the index alone.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.core.cache import cache
from django.db import connection

from orders.order_ids import first_id_at

MINUTE = timedelta(minutes=1)
# Rows written in a minute may be committed a little later.
SETTLED_AFTER = timedelta(minutes=1)
CACHE_KEY = "orders-by-minute"
COUNT = """
    SELECT begins_at,
           (SELECT count(*) FROM orders_order WHERE id >= first_id AND id < next_id),
           (SELECT count(*) FROM orders_orderevent
             WHERE type = 'placed' AND recorded_at >= begins_at AND recorded_at < ends_at)
      FROM unnest(%s::timestamptz[], %s::timestamptz[], %s::uuid[], %s::uuid[])
           AS minute (begins_at, ends_at, first_id, next_id)"""


class Counts(NamedTuple):
    """How many orders were accepted in a period, and how many (perhaps other ones) were placed in it."""

    accepted: int
    placed: int


def counts_by_minute(now: datetime, minutes: int) -> dict[datetime, Counts]:
    """The last `minutes` minutes, up to and including the current one, oldest first."""
    newest = now.astimezone(UTC).replace(second=0, microsecond=0)
    wanted = [newest - MINUTE * ago for ago in reversed(range(minutes))]
    known: dict[datetime, Counts] = cache.get(CACHE_KEY, {})
    counted = count([minute for minute in wanted if minute not in known])
    counts = {minute: known[minute] if minute in known else counted[minute] for minute in wanted}
    settled = {minute: count for minute, count in counts.items() if minute + MINUTE + SETTLED_AFTER <= now}
    cache.set(CACHE_KEY, settled, timeout=None)
    return counts


def count(minutes: list[datetime]) -> dict[datetime, Counts]:
    ends = [minute + MINUTE for minute in minutes]
    ids = [[first_id_at(moment) for moment in moments] for moments in (minutes, ends)]
    with connection.cursor() as cursor:
        cursor.execute(COUNT, [minutes, ends, *ids])
        return {minute: Counts(accepted, placed) for minute, accepted, placed in cursor.fetchall()}


def sum_by_hour(by_minute: dict[datetime, Counts]) -> dict[datetime, Counts]:
    """The counts added up by full hour."""
    hours: dict[datetime, Counts] = {}
    for minute, counts in by_minute.items():
        hour = minute.replace(minute=0)
        sums = hours.get(hour, Counts(0, 0))
        hours[hour] = Counts(sums.accepted + counts.accepted, sums.placed + counts.placed)
    return hours
