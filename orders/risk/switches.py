"""Halt trading, confirm that it has stopped, resume it, and release the orders that waited meanwhile."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import DateTimeField, F, Func, Q, QuerySet
from django.db.models.functions import Greatest
from django.utils import timezone

from infrastructure.database.base import in_transaction
from infrastructure.database.clock import database_now
from infrastructure.database.errors import violated_constraint
from orders import lifecycle
from orders.models import Halt, Order, OrderEvent, SafetyEvent
from orders.risk.halts import halted_since, sends_under_way
from orders.states import SafetyEventType, Status
from orders.storage import lock_orders, save_changes
from orders.wakeups import carrier

CHUNK = 500
# Every process that accepts or claims orders opens its transaction before it reads halts and keeps it open until its orders
# are visible to others. `xact_start` shows such a transaction even between two statements, when it holds no snapshot. Another
# program that only reads, such as pg_dump, has no transaction id and accepts nothing. The start of a prepared transaction is
# unknown, so any of them counts.
IS_OLDER_WORK_OPEN = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
            AND xact_start <= %s AND (application_name LIKE 'lemon_market %%' OR backend_xid IS NOT NULL)
    ) OR EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database())"""


@dataclass
class AlreadyHalted(Exception):
    halt: Halt

    def __str__(self) -> str:
        return f"{self.halt} is already halted."


@dataclass
class NotHalted(Exception):
    halt: Halt

    def __str__(self) -> str:
        return f"{self.halt} is not halted."


def halt_trading(by: str, reason: str, *, account: User | None = None, instrument: str | None = None) -> Halt:
    """Accept nothing new and send nothing from now on: for everyone, for one account, or in one instrument.

    Work that has already begun may still finish, until `confirm_halts` confirms that it has.
    Raises AlreadyHalted, and IntegrityError for a reason or an instrument that the database refuses.
    """
    halt = Halt(account=account, instrument=instrument, started_at=timezone.now(), started_by=by, reason=reason)
    try:
        with transaction.atomic():
            halt.save()
            note(SafetyEventType.HALTED, halt, by, reason)
    except IntegrityError as error:
        if violated_constraint(error) != "one_halt_in_force_per_scope":
            raise
        raise AlreadyHalted(halt) from None
    return halt


def confirm_halts() -> None:
    """Confirm the halts in force under which nothing is accepted or sent any more. Safe to repeat and to run concurrently.

    1. Note `stopping_since` for each halt that has none. The halt is committed by then, so all later work sees it.
    2. Wait for the transactions that are older than this moment: they may not have seen the halt.
    3. Their claims are visible then. Wait until each send that the halt covers is recorded, or is too old for the exchange
       to accept.

    No order takes a lock for this: a lock in each acceptance would slow all of them down all the time.
    Do not call this in a transaction, which would see everything as it was when it began. PostgreSQL shows the transactions of
    other roles than ours only to members of pg_read_all_stats.
    """
    unconfirmed = Halt.objects.filter(ended_at__isnull=True, confirmed_at__isnull=True)
    unconfirmed.filter(stopping_since__isnull=True).update(stopping_since=ClockTimestamp())
    for halt in unconfirmed.filter(stopping_since__isnull=False):
        if is_older_work_open(halt) or sends_under_way(halt).exists():
            continue
        unconfirmed.filter(pk=halt.pk).update(confirmed_at=Greatest(ClockTimestamp(), F("stopping_since")))


class ClockTimestamp(Func):
    """The time of evaluation. The start of the statement may be earlier than the halts that the statement sees."""

    function = "clock_timestamp"
    output_field = DateTimeField()


def is_older_work_open(halt: Halt) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(IS_OLDER_WORK_OPEN, [halt.stopping_since])
        [(is_open,)] = cursor.fetchall()
    return bool(is_open)


@in_transaction
def resume_trading(by: str, reason: str, *, account: User | None = None, instrument: str | None = None) -> Halt:
    """End the halt of exactly this scope. The sweep then releases the waiting orders. Raises NotHalted, IntegrityError."""
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
    """Release the orders whose halt has ended. Return how many. Safe to repeat: it continues where it was interrupted."""
    ended = Halt.objects.filter(ended_at__isnull=False, released_at__isnull=True).order_by("ended_at", "id")
    return sum(release_after(halt.pk) for halt in ended)


def release_after(halt_id: int) -> int:
    halt = Halt.objects.get(pk=halt_id)
    # Fetch all at once, by the index of pending orders, and sort here: in id order PostgreSQL would scan every order there is.
    ids = sorted(waited_for(halt).values_list("id", flat=True))
    released = 0
    for start in range(0, len(ids) + 1, CHUNK):
        chunk = ids[start : start + CHUNK]
        released += release_chunk(halt_id, chunk, is_last=start + CHUNK > len(ids))
    return released


def waited_for(halt: Halt) -> QuerySet[Order]:
    """Pending orders in the halt's scope that it affected; those accepted after its end lost no time to it.

    Held orders are always released, even when the clocks of two machines disagree on whether they were accepted later.
    """
    waited = Q(created_at__lt=halt.ended_at) | Q(held_at__isnull=False)
    return Order.objects.covered_by(halt).filter(waited, status=Status.PENDING)


@in_transaction
def release_chunk(halt_id: int, ids: list[uuid.UUID], *, is_last: bool) -> int:
    halt = Halt.objects.select_for_update().get(pk=halt_id)
    if halt.released_at is not None:
        return 0
    # Extend each order's time only once, even if another process releases this halt or an earlier run was interrupted.
    done = halt.released_up_to
    orders = lock_orders([id for id in ids if done is None or id > done])
    changed, events = released(halt, [order for order in orders.values() if order.status == Status.PENDING])
    save_changes(changed, events)
    if changed:
        carrier().wake_workers([order.id for order in changed])
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
