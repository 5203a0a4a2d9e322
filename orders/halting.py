"""Switching trading off and on again, and letting the orders go that waited meanwhile."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from lemon_market.database.clock import database_now
from orders import lifecycle
from orders.dispatch import wake_workers
from orders.halts import halted_since
from orders.instruments import in_instrument
from orders.models import Halt, Order, OrderEvent, SafetyEvent
from orders.states import SafetyEventType, Status
from orders.storage import lock_orders, save_changes

CHUNK = 500


@dataclass
class AlreadyHalted(Exception):
    halt: Halt

    def __str__(self) -> str:
        return f"{self.halt} is halted already."


@dataclass
class NotHalted(Exception):
    halt: Halt

    def __str__(self) -> str:
        return f"{self.halt} is not halted."


def halt_trading(by: str, reason: str, *, account: User | None = None, instrument: str | None = None) -> Halt:
    """Accept nothing new and send nothing from now on: at all, for one account, or in one instrument.

    Raises AlreadyHalted, and IntegrityError for a reason or an instrument that the database does not take.
    """
    halt = Halt(account=account, instrument=instrument, started_at=timezone.now(), started_by=by, reason=reason)
    try:
        with transaction.atomic():
            halt.save()
            note(SafetyEventType.HALTED, halt, by, reason)
    except IntegrityError as error:
        if "one_halt_in_force_per_scope" not in str(error):
            raise
        raise AlreadyHalted(halt) from None
    return halt


def resume_trading(by: str, reason: str, *, account: User | None = None, instrument: str | None = None) -> Halt:
    """End the halt of exactly this scope; the sweep then releases the orders that waited. Raises NotHalted, IntegrityError."""
    with transaction.atomic():
        in_force = Halt.objects.select_for_update().filter(ended_at__isnull=True)
        halt = in_force.filter(account=account, instrument=instrument).first()
        if halt is None:
            raise NotHalted(Halt(account=account, instrument=instrument))
        halt.ended_at, halt.ended_by, halt.end_reason = timezone.now(), by, reason
        halt.save()
        note(SafetyEventType.RESUMED, halt, by, reason)
    return halt


def note(type: SafetyEventType, halt: Halt, by: str, reason: str) -> None:
    SafetyEvent.objects.create(type=type, account=halt.account, instrument=halt.instrument, by=by, reason=reason)


def release_orders() -> int:
    """Let the orders go whose halt has ended; returns how many. Safe to repeat, and goes on where it was interrupted."""
    ended = Halt.objects.filter(ended_at__isnull=False, released_at__isnull=True).order_by("ended_at", "id")
    return sum(release_after(halt.pk) for halt in ended)


def release_after(halt_id: int) -> int:
    halt = Halt.objects.get(pk=halt_id)
    # Fetched at once, by the index of pending orders, and sorted here: by id alone the search would pass every order ever taken.
    ids = sorted(Order.objects.filter(waited_for(halt)).values_list("id", flat=True))
    released = 0
    for start in range(0, len(ids) + 1, CHUNK):
        chunk = ids[start : start + CHUNK]
        released += release_chunk(halt_id, chunk, is_last=start + CHUNK > len(ids))
    return released


def waited_for(halt: Halt) -> Q:
    """Pending orders of the halt's scope that it met; those accepted after its end lost no time by it.

    What is held is released whatever the clocks of two machines said about that.
    """
    waited = Q(status=Status.PENDING) & (Q(created_at__lt=halt.ended_at) | Q(held_at__isnull=False))
    if halt.account_id is not None:
        waited &= Q(account_id=halt.account_id)
    if halt.instrument is not None:
        waited &= in_instrument(halt.instrument)
    return waited


def release_chunk(halt_id: int, ids: list[uuid.UUID], *, is_last: bool) -> int:
    with transaction.atomic():
        halt = Halt.objects.select_for_update().get(pk=halt_id)
        if halt.released_at is not None:
            return 0
        # Each order's time is moved once, whoever else may be at this halt and wherever an earlier run was interrupted.
        done = halt.released_up_to
        orders = lock_orders([id for id in ids if done is None or id > done])
        changed, events = released(halt, [order for order in orders.values() if order.status == Status.PENDING])
        save_changes(changed, events)
        if changed:
            wake_workers([order.id for order in changed])
        if ids:
            halt.released_up_to = max(ids[-1], done or ids[-1])
        if is_last:
            halt.released_at = timezone.now()
        halt.save()
    return len(changed)


def released(halt: Halt, orders: list[Order]) -> tuple[list[Order], list[OrderEvent]]:
    assert halt.ended_at is not None
    now = database_now()
    oldest = min((order.created_at for order in orders), default=now)
    halts = Halt.objects.filter(Q(ended_at__isnull=True) | Q(ended_at__gte=oldest))
    changed, events = [], []
    for order in orders:
        since = halted_since(halt, [other for other in halts if other.covers(order.account_id, order.instrument)])
        if since is not None:
            halted = halt.ended_at - max(since, order.created_at)
            events += lifecycle.released(order, max(halted, timedelta()), now)
            changed.append(order)
    return changed, events
