"""Getting from the exchange what its feed cannot tell any more: open orders are looked up, and brought in line."""

import asyncio
import random
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from exchange.feed import FeedDisconnected
from exchange.gateway import Found, Gateway, NotFound, TermsConflict
from exchange.reports import FILLS, Session
from orders import lifecycle
from orders.database_thread import DatabaseThread
from orders.executions import EIGHT_PLACES, ENDS, advance, follow_fill
from orders.feeds import register_session, sessions_since
from orders.models import Order, OrderEvent, event
from orders.placement import placement
from orders.states import OPEN_EXECUTION, TERMINAL_EXECUTION, EventType, ExecutionStatus, Status
from orders.storage import lock_orders, save_changes

log = structlog.get_logger()

ORDERS_AT_ONCE = 500
LOOK_UPS_AT_ONCE = 50
LOOK_UP_ATTEMPTS = 6
PAUSE_BASE_S = 0.1
PAUSE_CAP_S = 5.0


class SessionEnded(FeedDisconnected):
    """The exchange is in another session than the one that we follow: connect again."""


class Reconciler:
    """Looks up every order about which reports may be missing."""

    def __init__(self, gateway: Gateway, database: DatabaseThread) -> None:
        self.gateway = gateway
        self.database = database

    async def reconcile(self, session_id: str, events_after: int | None = None) -> None:
        """Look up open orders, and with `events_after` those that ended in an event after it.

        Raises FeedDisconnected when the exchange does not answer, and SessionEnded when it is not in this session any more.
        """
        await self.look_up_page_by_page(open_orders(), session_id)
        if events_after is not None:
            await self.look_up_page_by_page(ended_orders(events_after), session_id)

    async def look_up_page_by_page(self, concerned: QuerySet[Order], session_id: str) -> None:
        after = uuid.UUID(int=0)
        differing = count = 0
        while orders := await self.database.run(partial(page_of, concerned, after)):
            found = await self.look_up_all(orders, session_id)
            differing += await self.database.run(partial(apply_found, found))
            count += len(orders)
            after = orders[-1].id
        log.info("reconciled", looked_up=count, differing=differing)

    async def look_up_all(self, orders: Sequence[Order], session_id: str) -> dict[uuid.UUID, Found]:
        slots = asyncio.Semaphore(LOOK_UPS_AT_ONCE)

        async def look_up(order: Order) -> Found | None:
            async with slots:
                return await self.look_up_until_answered(order, session_id)

        tasks = [asyncio.create_task(look_up(order)) for order in orders]
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return {order.id: found for order, found in zip(orders, outcomes, strict=True) if found is not None}

    async def look_up_until_answered(self, order: Order, session_id: str) -> Found | None:
        reason = ""
        for attempt in range(1, LOOK_UP_ATTEMPTS + 1):
            outcome = await self.gateway.look_up(placement(order, timezone.now()))
            if isinstance(outcome, Found):
                if outcome.session_id != session_id:
                    # Its `last_sequence` counts in a session that we do not follow yet.
                    raise SessionEnded("the exchange began a new session")
                return outcome
            if isinstance(outcome, NotFound | TermsConflict):
                if order.status == Status.COMPLETED:
                    log.error("order_missing_at_exchange", order_id=str(order.id), outcome=repr(outcome))
                return None
            reason = outcome.reason
            await asyncio.sleep(min(PAUSE_CAP_S, PAUSE_BASE_S * 2**attempt) * random.random())  # noqa: S311
        raise FeedDisconnected(f"look-ups fail while reconciling: {reason}")


def open_orders() -> QuerySet[Order]:
    """Those that the exchange works on, or may have."""
    return Order.objects.filter(execution_status__in=OPEN_EXECUTION) | Order.objects.filter(may_be_at_exchange=True)


def ended_orders(events_after: int) -> QuerySet[Order]:
    """Those that ended at the exchange in an event with a greater id."""
    ends = OrderEvent.objects.filter(id__gt=events_after, type__in=[status.value for status in TERMINAL_EXECUTION])
    return Order.objects.filter(id__in=ends.values("order_id"), status=Status.COMPLETED)


def page_of(orders: QuerySet[Order], after: uuid.UUID) -> list[Order]:
    return list(orders.filter(id__gt=after).order_by("id")[:ORDERS_AT_ONCE])


@dataclass(frozen=True, slots=True)
class Totals:
    """What was filled, in units and in money."""

    quantity: int = 0
    value: Decimal = Decimal(0)


def apply_found(found: Mapping[uuid.UUID, Found]) -> int:
    """Bring orders in line with what the exchange answered about them; returns how many differed.

    Reports of the answer's session up to its `last_sequence`, and of all earlier sessions, are contained in it, and will
    not count again. One answer that cannot be stored does not keep the others from it.
    Raises OperationalError or InterfaceError while the database is away.
    """
    try:
        with transaction.atomic():
            return apply_found_together(found)
    except (OperationalError, InterfaceError):
        raise
    except (DatabaseError, ValueError):
        if len(found) > 1:
            return sum(apply_found({id: answer}) for id, answer in found.items())
        log.exception("look_up_not_storable", found=repr(found))
        return 0


def apply_found_together(found: Mapping[uuid.UUID, Found]) -> int:
    now = timezone.now()
    orders = lock_looked_up(found)
    # Read while the orders are locked, so that no report can be applied in between.
    later = fills_after(found)
    events = [happened for id, order in orders.items() for happened in reconcile(order, found[id], later[id])]
    for order in orders.values():
        order.updated_at = now
    save_changes(list(orders.values()), events)
    return sum(happened.type == EventType.RECONCILED for happened in events)


def lock_looked_up(found: Mapping[uuid.UUID, Found]) -> dict[uuid.UUID, Order]:
    """The orders, locked, but for those of which a later answer was taken over already: two may look up at the same time.

    An earlier answer would have reports counted again that are in the totals of the later one.
    """
    orders = lock_orders(list(found))
    later_sessions = {id: {*sessions_since(id)} - {id} for id in {answer.session_id for answer in found.values()}}
    return {id: order for id, order in orders.items() if not is_outdated(order, found[id], later_sessions[found[id].session_id])}


def is_outdated(order: Order, found: Found, later_sessions: Collection[str]) -> bool:
    if order.reconciled_session == found.session_id:
        return found.last_sequence < (order.reconciled_sequence or 0)
    return order.reconciled_session in later_sessions


def begin_anew(session: Session) -> None:
    """Note the session, in which reports may be missing, before orders are looked up and reports are applied in it.

    If the exchange has lost its latest reports and gives their numbers to others, those must not be taken for known.
    """
    register_session(session.session_id)
    lost = Q(reconciled_session=session.session_id, reconciled_sequence__gt=session.last_sequence)
    with transaction.atomic():
        ids = list(open_orders().filter(lost).select_for_update().order_by("id").values_list("id", flat=True))
        Order.objects.filter(id__in=ids).update(reconciled_sequence=session.last_sequence)


def fills_after(found: Mapping[uuid.UUID, Found]) -> Mapping[uuid.UUID, Totals]:
    """What was filled after each answer, and is recorded already: recorders do not wait for look-ups."""
    since = {session_id: sessions_since(session_id) for session_id in {answer.session_id for answer in found.values()}}
    fills = OrderEvent.objects.filter(order_id__in=list(found), type__in=FILLS)
    later: defaultdict[uuid.UUID, Totals] = defaultdict(Totals)
    for order_id, event_id, data in fills.values_list("order_id", "event_id", "data"):
        answer = found[order_id]
        if is_later(event_id, data, answer, since[answer.session_id]):
            total, quantity = later[order_id], data["last_quantity"]
            later[order_id] = Totals(total.quantity + quantity, total.value + quantity * Decimal(data["last_price"]))
    return later


def is_later(event_id: str, data: Mapping[str, Any], answer: Found, since: Iterable[str]) -> bool:
    """Whether the event tells of a report that the answer does not contain."""
    if event_id.startswith(f"{answer.session_id}:"):
        return bool(data["sequence"] > answer.last_sequence)
    return any(event_id.startswith(f"{session_id}:") for session_id in since)


def reconcile(order: Order, found: Found, later: Totals) -> list[OrderEvent]:
    """Take over the exchange's totals and state where they are ahead of ours. What was filled is never taken back."""
    now = timezone.now()
    events = lifecycle.acknowledged(order, found.exchange_order_id, now, looked_up=True)
    if order.status != Status.COMPLETED or order.exchange_order_id != found.exchange_order_id:
        log.error("order_differs_at_exchange", order_id=str(order.id), exchange_order_id=found.exchange_order_id)
        return events
    before = view(order)
    if order.filled_quantity < found.filled_quantity + later.quantity <= order.quantity:
        take_totals(order, found, later)
    if found.status in ENDS:
        advance(order, ExecutionStatus(found.status))
    elif order.execution_status == ExecutionStatus.PENDING_CANCEL:
        # The result of the cancel may have gone with the reports that we missed. Asking twice does no harm.
        order.cancel_requested_at = order.next_attempt_at = now
    order.reconciled_session, order.reconciled_sequence = found.session_id, found.last_sequence
    if before == view(order):
        return events
    return [*events, event(order, EventType.RECONCILED, now, before=before, after=view(order))]


def take_totals(order: Order, found: Found, later: Totals) -> None:
    order.filled_quantity = found.filled_quantity + later.quantity
    order.filled_value = found.filled_quantity * (found.average_price or Decimal(0)) + later.value
    if later.quantity:
        order.average_price = (order.filled_value / order.filled_quantity).quantize(EIGHT_PLACES, ROUND_HALF_EVEN)
    else:
        order.average_price = found.average_price
    follow_fill(order)


def view(order: Order) -> dict[str, object]:
    return {
        "execution_status": order.execution_status and str(order.execution_status),
        "filled_quantity": order.filled_quantity,
        "average_price": order.average_price and str(order.average_price),
    }
