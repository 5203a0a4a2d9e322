"""Which orders halts cover, which of their sends are still under way, and how long trading was halted."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from orders.capped_count import capped_count
from orders.models import Halt, Order
from orders.proof_of_absence import clock_margin
from orders.retry_policy import PlacementPolicy
from orders.states import Status


def halts_in_force() -> list[Halt]:
    """The halts in force, at most one per scope, with their accounts, whose names are displayed."""
    return list(Halt.objects.filter(ended_at__isnull=True).select_related("account"))


def halts_not_released() -> list[Halt]:
    """The halts in force, and the ended ones whose orders are not all released yet."""
    return list(Halt.objects.filter(released_at__isnull=True))


def is_halted(order: Order, halts: Iterable[Halt]) -> bool:
    return any(halt.covers(order.account_id, order.instrument) for halt in halts)


def sends_under_way(halt: Halt) -> QuerySet[Order]:
    """Orders that the halt covers and the exchange may still receive: claimed, or sent without a clear answer so far.

    The exchange accepts none of them after `sent_valid_until` plus the clock margin. That also ends the wait for a worker
    that died. The conditions on status and `held_at` follow from the others; they let PostgreSQL use the partial indexes.
    """
    margin = clock_margin(PlacementPolicy.from_settings())
    unsettled = Q(status=Status.PENDING, held_at__isnull=True) | Q(status=Status.ERROR)
    return Order.objects.covered_by(halt).filter(unsettled, may_be_at_exchange=True, sent_valid_until__gt=Now() - margin)


def how_far(halt: Halt) -> str:
    """The progress of a halt in force, for display: how many sends are under way, or when the halt was confirmed."""
    if halt.confirmed_at is not None:
        return f"confirmed at {halt.confirmed_at:%Y-%m-%d %H:%M:%S} UTC"
    count = capped_count(sends_under_way(halt))
    return f"stopping, {count} {'send' if count.value == 1 else 'sends'} under way"


def halted_since(ended: Halt, others: Sequence[Halt]) -> datetime | None:
    """When the uninterrupted halt of trading that ended with `ended` began.

    `others` are all halts that cover the same order. None when one of them lasted longer: its end counts for both.
    """
    assert ended.ended_at is not None
    before = []
    for halt in others:
        if halt.started_at > ended.ended_at or halt.pk == ended.pk:
            continue
        # Of two halts that end at the same moment only the one with the higher id counts, so that the time is counted once.
        if halt.ended_at is None or (halt.ended_at, halt.pk) > (ended.ended_at, ended.pk):
            return None
        before.append((halt.ended_at, halt.started_at))
    since = ended.started_at
    for ended_at, started_at in sorted(before, reverse=True):
        if ended_at >= since:
            since = min(since, started_at)
    return since
