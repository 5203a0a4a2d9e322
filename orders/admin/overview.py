"""The numbers on the order desk's first page, read in a time that does not grow with the number of orders.

| what | how it is bounded |
|---|---|
| failed, in error, oldest pending | index `order_not_completed`; counted to `MAX_COUNTED` |
| what needs an operator | index `order_needs_operator`; the newest 10 |
| due orders | index `order_due`; counted to `MAX_COUNTED` |
| outcomes of the last minute, last acknowledgement, last problem | index `order_event_outcome`; counted to `MAX_COUNTED` |
| latency | the same index; the newest 1,000 placements of the last hour, and the times in their orders' ids |
| orders by minute | ranges of the primary key, placements by `order_event_outcome`; see `minute_counts` |
| halts in force | index `one_halt_in_force_per_scope`; one for each scope at most |
| dead letters | index `dead_letter_waiting`; counted to `MAX_COUNTED` |
| contradictions | index `order_with_discrepancy`; counted to `MAX_COUNTED` |
| feed position, feed connection | one row for each feed |
| outage | one row for each worker |
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet

from orders.capped_count import MAX_COUNTED, CappedCount, capped_count
from orders.executions.feed_connection import SILENT_AFTER
from orders.executions.feed_positions import active_feed
from orders.models import DeadLetter, FeedConnection, FeedPosition, Order, OrderEvent, OrderQuerySet, PlacementWorker
from orders.order_ids import made_at
from orders.placement.worker_state import outage
from orders.risk.halts import halts_in_force
from orders.states import ErrorCode, EventType, Status

NEEDS_OPERATOR_SHOWN = 10
LATENCY_SAMPLE = 1_000
MAX_FEEDS = 10
LATELY = timedelta(minutes=1)
# Problems of fewer orders say something about those orders, but nothing about the exchange.
TELLING_ORDERS = 5
# Workers claim due orders within a second, oldest first, so an order that is due for longer is stuck.
OVERDUE_AFTER = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of the exchange: a level, `good`, `bad` or `unsure`, and a sentence."""

    level: str
    text: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Results of recent attempts to place orders, and the last of each kind."""

    placed: CappedCount
    retrying: CappedCount
    orders_retrying: int
    last_placed_at: datetime | None
    last_problem: OrderEvent | None


@dataclass(frozen=True, slots=True)
class Latency:
    """From accepted to placed, in seconds, over `sample` placements."""

    p50_s: float
    p99_s: float
    sample: int


def with_status(status: Status) -> OrderQuerySet:
    return Order.objects.filter(status=status).order_by("-id")


def needs_operator() -> dict[str, Any]:
    errors = with_status(Status.ERROR)[: MAX_COUNTED + 1].aggregate(
        all=Count("id"), unknown=Count("id", filter=Q(error_code=ErrorCode.OUTCOME_UNKNOWN))
    )
    return {
        "failed": capped_count(with_status(Status.FAILED).needs_operator()),
        "error": CappedCount(errors["all"]),
        "unknown": CappedCount(errors["unknown"]),
        "oldest_pending": with_status(Status.PENDING).last(),
        "newest": newest_needing_operator(),
    }


def newest_needing_operator() -> QuerySet[Order]:
    return Order.objects.needs_operator().select_related("account").order_by("-id")[:NEEDS_OPERATOR_SHOWN]


def dead_letters_waiting() -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(applied_at__isnull=True).order_by("id")


def queue(now: datetime) -> dict[str, Any]:
    oldest = Order.objects.due(now).first()
    waits_since = None if oldest is None else oldest.next_attempt_at
    return {
        "depth": capped_count(Order.objects.due(now)),
        "oldest": oldest,
        "is_stuck": waits_since is not None and now - waits_since > OVERDUE_AFTER,
    }


def outcomes_of(type: EventType) -> QuerySet[OrderEvent]:
    return OrderEvent.objects.filter(type=type).order_by("-recorded_at")


def outcomes(now: datetime) -> Outcomes:
    lately = now - LATELY
    retrying = (
        outcomes_of(EventType.RETRYING)
        .filter(recorded_at__gt=lately)[: MAX_COUNTED + 1]
        .aggregate(events=Count("id"), orders=Count("order_id", distinct=True))
    )
    last_placed = outcomes_of(EventType.PLACED).first()
    return Outcomes(
        placed=capped_count(outcomes_of(EventType.PLACED).filter(recorded_at__gt=lately)),
        retrying=CappedCount(retrying["events"]),
        orders_retrying=retrying["orders"],
        last_placed_at=None if last_placed is None else last_placed.recorded_at,
        last_problem=outcomes_of(EventType.RETRYING).first(),
    )


def placements_lately(now: datetime) -> QuerySet[OrderEvent, Any]:
    placements = outcomes_of(EventType.PLACED).filter(recorded_at__gt=now - timedelta(hours=1))
    return placements.values_list("recorded_at", "order_id")[:LATENCY_SAMPLE]


def latency(now: datetime) -> Latency | None:
    took_s = sorted((placed_at - made_at(order_id)).total_seconds() for placed_at, order_id in placements_lately(now))
    if not took_s:
        return None
    return Latency(nearest_rank(took_s, 50), nearest_rank(took_s, 99), len(took_s))


def nearest_rank(ascending: list[float], percent: int) -> float:
    """The smallest value that `percent` % of all values do not exceed."""
    rank = -(-len(ascending) * percent // 100)
    return ascending[rank - 1]


def judge_exchange(
    connection: FeedConnection | None, lately: Outcomes, now: datetime, waiting: PlacementWorker | None = None
) -> Verdict:
    """Judge the state of the exchange. The feed's connection shows it within seconds, even while no order is being placed.

    `waiting` is a worker whose orders the exchange all turned away. It comes first, since a lost connection may be our problem.
    """
    if waiting is not None:
        problem = waiting.problem or ""
        return Verdict("bad", problem[:1].upper() + problem[1:])
    if connection is None or now - connection.said_at > SILENT_AFTER:
        since = None if connection is None else connection.said_at
        return Verdict("unsure", "The exchange's feed is not being followed: is the update consumer running?", since)
    if not connection.is_connected:
        return Verdict("bad", f"The exchange cannot be reached: {connection.problem}", connection.since)
    if connection.silent_since is not None:
        return Verdict(
            "bad", "The exchange's feed is silent: it does not deliver reports that the exchange has", connection.silent_since
        )
    if lately.orders_retrying >= TELLING_ORDERS and lately.orders_retrying > lately.placed.value:
        taken = f"accepted {lately.placed} orders and did not accept {lately.orders_retrying:,}"
        return Verdict("unsure", f"The exchange is connected, but in the last minute it {taken}", connection.since)
    return Verdict("good", "The exchange is connected", connection.since)


def overview(now: datetime) -> dict[str, Any]:
    lately = outcomes(now)
    connection = FeedConnection.objects.filter(feed=active_feed()).first()
    return {
        "now": now,
        "verdict": judge_exchange(connection, lately, now, outage()),
        "needs_operator": needs_operator(),
        "queue": queue(now),
        "outcomes": lately,
        "latency": latency(now),
        "dead_letters": capped_count(dead_letters_waiting()),
        "contradictions": capped_count(Order.objects.filter(discrepancy__isnull=False).order_by("-id")),
        "halts": halts_in_force(),
        "positions": list(FeedPosition.objects.order_by("feed")[:MAX_FEEDS]),
    }
