"""Which orders trading is halted for, and for how long it was."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from orders.models import Halt, Order


def halts_in_force() -> list[Halt]:
    """Few: one for each scope at most; with their accounts, whose names people read."""
    return list(Halt.objects.filter(ended_at__isnull=True).select_related("account"))


def halts_not_released() -> list[Halt]:
    """Those in force, and those whose end has not reached every order yet."""
    return list(Halt.objects.filter(released_at__isnull=True))


def is_halted(order: Order, halts: Iterable[Halt]) -> bool:
    return any(halt.covers(order.account_id, order.instrument) for halt in halts)


def halted_since(ended: Halt, others: Sequence[Halt]) -> datetime | None:
    """When the uninterrupted time without trading began that ended with `ended`.

    `others` are all halts that cover the same order. None when one of them went on: its end will count for both.
    """
    assert ended.ended_at is not None
    before = []
    for halt in others:
        if halt.started_at > ended.ended_at or halt.pk == ended.pk:
            continue
        # Of two that end in the same moment the later one counts, so that the time is counted once.
        if halt.ended_at is None or (halt.ended_at, halt.pk) > (ended.ended_at, ended.pk):
            return None
        before.append((halt.ended_at, halt.started_at))
    since = ended.started_at
    for ended_at, started_at in sorted(before, reverse=True):
        if ended_at >= since:
            since = min(since, started_at)
    return since
