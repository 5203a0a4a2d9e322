"""Bring orders in line with the exchange's answers to look-ups. A strange answer affects only its own order.

Nothing here waits for the network: `orders.executions.gap_look_ups` asks, and the answers are applied here in one transaction.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from exchange.gateway import Contradiction, Found, LookUpOutcome, NotFound, TermsConflict
from infrastructure.database.base import in_transaction
from infrastructure.database.batches import store_all_or_each
from orders import lifecycle
from orders.dead_letters import contradicts
from orders.event_data import Cause, ReconciledData
from orders.exact_decimals import EXACT
from orders.executions.fills import Fill, average_price, is_average_of, sum_of, value_up_to
from orders.executions.reports import ENDS, advance, follow_fill, read_fills
from orders.models import Order, OrderEvent, new_event
from orders.states import TERMINAL_EXECUTION, EventType, ExecutionStatus, Status
from orders.storage import lock_orders, save_changes

log = structlog.get_logger()

# An answer that may be older than our last change of its order settles nothing for certain, so the order is looked up again.
ASK_AGAIN = timedelta(seconds=1)
UNANSWERED_PAUSE = timedelta(seconds=5)
UNKNOWN_TO_EXCHANGE = "the exchange does not know this order, which it acknowledged"


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a look-up that began at `asked_at`, by our clock."""

    outcome: LookUpOutcome
    asked_at: datetime


def apply_answers(answers: Mapping[uuid.UUID, Answer]) -> int:
    """Bring orders in line with the exchange's answers about them. Return how many differed.

    An answer that contradicts itself or what is known of its order is kept with its raw text, and the order is flagged and
    looked up again. An answer that cannot be stored does not prevent the others from being stored.
    Raises DatabaseUnavailable while the database is unavailable; nothing is stored then.
    """
    differed: list[OrderEvent] = []

    def store(some: Sequence[tuple[uuid.UUID, Answer]]) -> None:
        differed.extend(apply_together(dict(some)))

    store_all_or_each(list(answers.items()), store, keep_unstorable)
    return len(differed)


def keep_unstorable(answer_of: tuple[uuid.UUID, Answer], error: Exception) -> None:
    """Flag the order of an answer that the database refused, and keep the answer as a dead letter."""
    id, answer = answer_of
    log.error("look_up_not_storable", order_id=str(id), answer=repr(answer), exc_info=error)
    with transaction.atomic():
        [order] = lock_orders([id]).values()
        contradicts(order, f"a look-up's answer cannot be stored: {error}", getattr(answer.outcome, "raw", ""), timezone.now())
        save_changes([order], [])


@in_transaction
def apply_together(answers: Mapping[uuid.UUID, Answer]) -> list[OrderEvent]:
    """Apply the answers in one transaction. Return the events of the orders that differed."""
    orders = lock_orders(list(answers))
    # Read while the orders are locked, so that no report can be applied in between.
    fills = read_fills(orders)
    events: list[OrderEvent] = []
    changed = []
    for id, order in orders.items():
        before = vars(order).copy()
        events += apply_answer(order, answers[id], fills[id])
        if vars(order) != before:
            changed.append(order)
    save_changes(changed, events)
    return [event for event in events if event.type == EventType.RECONCILED]


def apply_answer(order: Order, answer: Answer, fills: Sequence[Fill]) -> list[OrderEvent]:
    now = timezone.now()
    again_at = now + timedelta(seconds=settings.PLACEMENT_RETRY_CAP)
    match answer.outcome:
        case Found() as found:
            return reconcile(order, found, answer.asked_at, fills)
        case Contradiction(reason, raw) | TermsConflict(reason, raw):
            contradicts(order, reason, raw, now)
        case NotFound() if order.status == Status.COMPLETED:
            if order.absent_since is None:
                log.error("order_missing_at_exchange", order_id=str(order.id))
            lifecycle.flag(order, UNKNOWN_TO_EXCHANGE, again_at)
            order.absent_since = order.absent_since or now
        case NotFound():
            # The workers find out whether it may still arrive there, because they know until when its send is valid.
            lifecycle.settle_discrepancy(order)
        case _:
            order.look_up_at = now + UNANSWERED_PAUSE
    return []


def reconcile(order: Order, found: Found, asked_at: datetime, fills: Sequence[Fill]) -> list[OrderEvent]:
    """Adopt the exchange's totals and state where they are ahead of ours. Fills are never taken back.

    If the look-up began before our last change of the order, its answer may lack that change without contradicting it.
    """
    now = timezone.now()
    may_be_older = asked_at <= order.updated_at
    events = lifecycle.acknowledged(order, found.exchange_order_id, now, Cause(looked_up=True))
    problem = contradiction(order, found, fills) or (None if may_be_older else falls_behind(order, found))
    if problem is not None:
        contradicts(order, problem, found.raw, now)
        return events
    before = view(order)
    take_totals(order, found, fills)
    if found.status in ENDS:
        advance(order, ExecutionStatus(found.status))
    elif order.execution_status == ExecutionStatus.PENDING_CANCEL:
        # The result of the cancel may have been among the missing reports. Asking twice does no harm.
        order.cancel_requested_at = order.next_attempt_at = now
    if may_be_older and (order.discrepancy is not None or order.reported_quantity > order.filled_quantity):
        order.look_up_at = now + ASK_AGAIN
    else:
        lifecycle.settle_discrepancy(order)
    if before == view(order):
        return events
    order.updated_at = now
    return [*events, new_event(order, now, ReconciledData(before=before, after=view(order)))]


def contradiction(order: Order, found: Found, fills: Sequence[Fill]) -> str | None:
    """How the answer contradicts what is known of the order, whichever is newer, or None."""
    if order.exchange_order_id != found.exchange_order_id:
        return f"looked up as {found.exchange_order_id}, but acknowledged as {order.exchange_order_id}"
    if any(fill.start < found.filled_quantity < fill.end for fill in fills):
        return f"looked up with {found.filled_quantity} filled, which is in the middle of a fill"
    exact = value_up_to(found.filled_quantity, fills)
    if exact and found.average_price is not None and not is_average_of(found.average_price, exact, found.filled_quantity):
        average = average_price(exact, found.filled_quantity)
        return f"looked up at an average of {found.average_price}, but its fills average {average}"
    return None


def falls_behind(order: Order, found: Found) -> str | None:
    """How the answer lags behind what is known of the order although it is newer, or None."""
    if found.filled_quantity < order.reported_quantity:
        return f"looked up with {found.filled_quantity} filled, but {order.reported_quantity} were reported before"
    if order.execution_status in TERMINAL_EXECUTION and found.status not in (order.execution_status, ExecutionStatus.FILLED):
        return f"looked up as {found.status}, but reported as {order.execution_status} before"
    return None


def take_totals(order: Order, found: Found, fills: Sequence[Fill]) -> None:
    """Count a look-up's total and the fills after it. Its average may be rounded, so use the exact value if it is known."""
    later = [fill for fill in fills if fill.start >= found.filled_quantity]
    total = found.filled_quantity + sum(fill.end - fill.start for fill in later)
    order.reported_quantity = max(order.reported_quantity, found.filled_quantity)
    if total <= order.filled_quantity or found.average_price is None:
        return
    exact = value_up_to(found.filled_quantity, fills)
    looked_up = EXACT.multiply(Decimal(found.filled_quantity), found.average_price)
    order.filled_quantity = total
    order.filled_value = sum_of([looked_up if exact is None else exact, *(fill.value for fill in later)])
    order.average_price = average_price(order.filled_value, total)
    order.looked_up_quantity = found.filled_quantity if exact is None else 0
    follow_fill(order)


def view(order: Order) -> dict[str, object]:
    return {
        "execution_status": order.execution_status and str(order.execution_status),
        "filled_quantity": order.filled_quantity,
        "average_price": order.average_price and str(order.average_price),
    }
