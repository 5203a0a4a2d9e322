"""The system's status, read from the database for metrics and `manage.py doctor`, at a cost that does not grow with history.

| what | how it is bounded |
|---|---|
| due orders | index `order_due`; counted to `MAX_IN_METRICS` |
| failed, in error | indexes `order_needs_operator`, `order_not_completed`; counted to `MAX_IN_METRICS` |
| outcomes of the last minute | index `order_event_outcome`; each counted to `MAX_IN_METRICS` |
| dead letters | index `dead_letter_waiting`; counted to `MAX_IN_METRICS` |
| contradictions | index `order_with_discrepancy`; counted to `MAX_IN_METRICS` |
| look-ups due | index `order_to_look_up`; counted to `MAX_IN_METRICS` |
| feed position, feed connection | one row |
| connections | `pg_stat_activity`, which has `max_connections` rows at most |
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from orders.capped_count import count_up_to
from orders.executions.feed_positions import active_feed
from orders.models import DeadLetter, FeedConnection, FeedPosition, Order, OrderEvent
from orders.states import EventType, Status

# An outage of a minute may leave so many orders due, and its graph should show how fast they are worked through.
MAX_IN_METRICS = 100_000
LATELY = timedelta(minutes=1)
OUTCOMES = (EventType.PLACED, EventType.RETRYING, EventType.FAILED, EventType.ERROR)


@dataclass(frozen=True, slots=True)
class Feed:
    """`behind` is how many reports the exchange is known to have beyond those taken. Ages are in seconds.

    `silent_s` is how long reports have been missing; None if none is known to be missing.
    """

    is_connected: bool
    problem: str | None
    said_age_s: float
    behind: int | None
    silent_s: float | None


@dataclass(frozen=True, slots=True)
class Connections:
    """Connections to our database by application name, all connections to the server, and the most that it accepts."""

    by_program: dict[str, int]
    all: int
    most: int


def counted(rows: QuerySet[Any]) -> int:
    return count_up_to(MAX_IN_METRICS, rows.order_by())


def queue_age_s(now: datetime) -> float:
    """How long the oldest due order has been due; 0 if none is."""
    oldest = Order.objects.due(now).values_list("next_attempt_at", flat=True).first()
    return 0.0 if oldest is None else (now - oldest).total_seconds()


def due_count(now: datetime) -> int:
    return counted(Order.objects.due(now))


def needing_operator(status: Status) -> int:
    return counted(Order.objects.needs_operator().filter(status=status))


def outcomes_lately(now: datetime) -> dict[str, int]:
    since = now - LATELY
    return {type.value: counted(OrderEvent.objects.filter(type=type.value, recorded_at__gt=since)) for type in OUTCOMES}


def dead_letter_count() -> int:
    return counted(DeadLetter.objects.filter(applied_at__isnull=True))


def discrepancy_count() -> int:
    """The number of orders about which the exchange contradicts itself or us."""
    return counted(Order.objects.filter(discrepancy__isnull=False))


def look_ups_due(now: datetime) -> int:
    return counted(Order.objects.to_look_up(now))


def feed(now: datetime) -> Feed | None:
    """The feed's state; None if it has never been followed."""
    said = FeedConnection.objects.filter(feed=active_feed()).first()
    if said is None:
        return None
    position = FeedPosition.objects.filter(feed=active_feed()).first()
    behind = None
    if position is not None and said.session_id == position.session_id and said.last_sequence is not None:
        behind = max(0, said.last_sequence - position.sequence)
    silent_s = None if said.silent_since is None else (now - said.silent_since).total_seconds()
    return Feed(said.is_connected, said.problem, (now - said.said_at).total_seconds(), behind, silent_s)


def connections() -> Connections:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT application_name, datname = current_database(), current_setting('max_connections')::int, count(*)"
            " FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2"
        )
        rows = cursor.fetchall()
    ours = {name: count for name, is_ours, _, count in rows if is_ours}
    return Connections(ours, sum(row[3] for row in rows), rows[0][2])
