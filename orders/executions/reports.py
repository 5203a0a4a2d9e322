"""Apply the exchange's reports to the totals, states and events of orders, in any order and any number of times."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from django.utils import timezone

from exchange.reports import FILLS, BadReport, ExecutionReport, ReportType
from infrastructure.database.base import in_transaction
from infrastructure.database.batches import store_all_or_each
from orders import lifecycle
from orders.dead_letters import NOT_OURS, Rejected, keep_reports
from orders.event_data import (
    CanceledData,
    CancelRejectedData,
    Cause,
    ExpiredData,
    FillData,
    FilledData,
    PartiallyFilledData,
    RejectedData,
    ReportedData,
)
from orders.exact_decimals import EXACT
from orders.executions.feed_positions import active_feed, look_up_open_orders_soon, move_position
from orders.executions.fills import Fill, average_price, is_average_of, read_fill, sum_of, value_up_to
from orders.executions.last_prices import note_last_prices
from orders.models import DeadLetter, Order, OrderEvent, new_event
from orders.states import EXECUTION_STATUS_CHANGES, TERMINAL_EXECUTION, ExecutionStatus
from orders.storage import lock_orders, save_changes

log = structlog.get_logger()

# The ends of an order other than filled. The exchange's names are the same as ours.
ENDS = frozenset({ExecutionStatus.CANCELED, ExecutionStatus.REJECTED, ExecutionStatus.EXPIRED})
WITH_FILL: dict[ReportType, type[FillData]] = {
    ReportType.PARTIALLY_FILLED: PartiallyFilledData,
    ReportType.FILLED: FilledData,
}
WITHOUT_FILL: dict[ReportType, type[ReportedData]] = {
    ReportType.CANCELED: CanceledData,
    ReportType.CANCEL_REJECTED: CancelRejectedData,
    ReportType.REJECTED: RejectedData,
    ReportType.EXPIRED: ExpiredData,
}


@dataclass
class CannotApply(Exception):
    """The report is about no order of ours, or contradicts what is known of `order`."""

    reason: str
    order: Order | None = None

    def __str__(self) -> str:
        return self.reason


class Known(NamedTuple):
    """An event that an earlier report brought."""

    order_id: uuid.UUID
    data: Mapping[str, Any]


@dataclass
class Batch:
    """Reports of one session, and what is known of their orders, whose rows are locked."""

    session_id: str
    now: datetime
    orders: dict[uuid.UUID, Order]
    known: dict[str, Known]
    # Only for orders whose fills do not arrive one after the other. This batch's fills are added as they are applied.
    fills: dict[uuid.UUID, list[Fill]]
    pruned: Collection[uuid.UUID]
    events: list[OrderEvent] = field(default_factory=list)
    changed: dict[uuid.UUID, Order] = field(default_factory=dict)
    refused: list[Rejected] = field(default_factory=list)

    def order_of(self, report: ExecutionReport | BadReport) -> Order | None:
        id = order_id_of(report)
        return None if id is None else self.orders.get(id)

    def change(self, order: Order) -> None:
        order.updated_at = self.now
        self.changed[order.id] = order


def apply_reports(
    reports: Sequence[ExecutionReport | BadReport], session_id: str, feed: str | None = None, position: int | None = None
) -> None:
    """Apply reports of one feed session in one transaction.

    Reports that cannot be applied become dead letters, and their orders are looked up.

    With `feed` and `position`, also move that feed's position in the same transaction.
    Raises DatabaseUnavailable while the database is unavailable; nothing is stored then.
    """

    def store(some: Sequence[ExecutionReport | BadReport]) -> None:
        # When reports are stored one by one, the position moves after the last of them.
        apply_together(some, session_id, feed if some is reports else None, position)

    def refuse(report: ExecutionReport | BadReport, error: Exception) -> None:
        log.error("report_not_storable", raw=report.raw, exc_info=error)
        keep_dead_letter(report, f"cannot be stored: {error}", session_id)

    if not store_all_or_each(reports, store, refuse) and feed is not None and position is not None:
        move_position(feed, session_id, position)


@in_transaction
def apply_together(
    reports: Sequence[ExecutionReport | BadReport], session_id: str, feed: str | None = None, position: int | None = None
) -> None:
    batch = read_batch(reports, session_id)
    for report in reports:
        try:
            apply_one(batch, report)
        except CannotApply as problem:
            batch.refused.append(Rejected(report, problem.reason, problem.order))
    store(batch)
    if feed is not None and position is not None:
        move_position(feed, session_id, position)


def store(batch: Batch) -> None:
    keep_dead_letters(batch)
    save_changes(list(batch.changed.values()), batch.events)
    note_last_prices(batch.events, batch.now)


def read_batch(reports: Sequence[ExecutionReport | BadReport], session_id: str) -> Batch:
    """Lock the orders and read the history that is needed: two statements when all fills arrive in order."""
    readable = [report for report in reports if isinstance(report, ExecutionReport)]
    orders = lock_orders([id for report in reports if (id := order_id_of(report)) is not None])
    known = known_events({event_id_of(report, session_id) for report in readable})
    fresh = [report for report in readable if event_id_of(report, session_id) not in known]
    pruned = pruned_orders(orders[id] for report in fresh if (id := order_id_of(report)) in orders)
    return Batch(session_id, timezone.now(), orders, known, read_fills(out_of_order(fresh, orders)), pruned)


def known_events(event_ids: Collection[str]) -> dict[str, Known]:
    rows = OrderEvent.objects.filter(event_id__in=event_ids).values_list("event_id", "order_id", "data")
    return {event_id: Known(order_id, data) for event_id, order_id, data in rows}


def pruned_orders(orders: Iterable[Order]) -> set[uuid.UUID]:
    """The ended orders whose history has been pruned. A report about them now is a repeat of one that was counted then."""
    ended = {order.id for order in orders if order.execution_status in TERMINAL_EXECUTION}
    if not ended:
        return ended
    pruned = ended.difference(OrderEvent.objects.filter(order_id__in=ended).values_list("order_id", flat=True))
    if pruned:
        log.info("reports_of_pruned_orders", orders=len(pruned))
    return pruned


def out_of_order(reports: Iterable[ExecutionReport], orders: Mapping[uuid.UUID, Order]) -> set[uuid.UUID]:
    """The orders with a fill that does not begin where the one before ended. To check such a fill, all fills are needed."""
    found = set()
    counted: dict[uuid.UUID, int] = {}
    for report in reports:
        id = order_id_of(report)
        order = None if id is None else orders.get(id)
        if id is None or order is None or report.last_quantity is None:
            continue
        end = counted.get(id, order.filled_quantity)
        if order.reported_quantity != order.filled_quantity or report.filled_quantity - report.last_quantity != end:
            found.add(id)
        counted[id] = report.filled_quantity
    return found


def read_fills(order_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, list[Fill]]:
    fills: dict[uuid.UUID, list[Fill]] = {id: [] for id in order_ids}
    if order_ids:
        events = OrderEvent.objects.filter(order_id__in=order_ids, type__in=FILLS)
        for order_id, data in events.values_list("order_id", "data"):
            fills[order_id].append(read_fill(data))
    return fills


def apply_one(batch: Batch, report: ExecutionReport | BadReport) -> None:
    """Apply one report to the batch. Raises CannotApply, and then changes nothing."""
    order = batch.order_of(report)
    if isinstance(report, BadReport):
        raise CannotApply(report.error, order)
    if order is None:
        raise CannotApply(NOT_OURS)
    event_id = event_id_of(report, batch.session_id)
    if is_repeat(report, order, batch.known.get(event_id)) or order.id in batch.pruned:
        return
    check_identity(order, report)
    new_fill = check_totals(order, report, batch.fills.get(order.id))
    events = apply_report(order, report, new_fill, batch)
    # `new` has an event only when it completes the order; it is the first then.
    reported = events[:1] if report.type is ReportType.NEW else events[-1:]
    for event in reported:
        event.event_id = event_id
    batch.known[event_id] = Known(order.id, reported[0].data if reported else {})
    batch.events += events
    batch.change(order)


def is_repeat(report: ExecutionReport, order: Order, known: Known | None) -> bool:
    """Whether the report was applied before. Raises CannotApply when another report has the same `execution_id`."""
    if known is None:
        return False
    if known.order_id != order.id:
        raise CannotApply("its execution_id belongs to a report about another order", order)
    if report.last_quantity is not None and FillData.has_fill(known.data) and read_fill(known.data) != fill_of(report):
        raise CannotApply("its execution_id belongs to another fill", order)
    return True


def check_identity(order: Order, report: ExecutionReport) -> None:
    """Raises CannotApply when the report has this order's id but is about another order."""
    if report.account != str(order.account_id):
        raise CannotApply(f"the order belongs to account {order.account_id}, but the report names {report.account}", order)
    if order.exchange_order_id not in (None, report.exchange_order_id):
        raise CannotApply(f"the order's id at the exchange is {order.exchange_order_id}", order)


def check_totals(order: Order, report: ExecutionReport, fills: Sequence[Fill] | None) -> Fill | None:
    """The report's fill, or None if it has none. Raises CannotApply for totals that contradict what is known."""
    if report.filled_quantity > order.quantity:
        raise CannotApply("more would be filled than was ordered", order)
    if report.type is ReportType.FILLED and report.filled_quantity < order.quantity:
        raise CannotApply(f"reported as filled with {report.filled_quantity} of {order.quantity}", order)
    if report.type.value in ENDS and report.filled_quantity < order.filled_quantity:
        raise CannotApply(f"it ends with {report.filled_quantity} filled, but {order.filled_quantity} already are", order)
    if report.last_quantity is None:
        return None
    fill = fill_of(report)
    if any(fill.overlaps(other) for other in fills or ()):
        raise CannotApply(f"an earlier report filled some of its units {fill.start + 1} to {fill.end}", order)
    if fill.start < order.looked_up_quantity < fill.end:
        raise CannotApply(f"it straddles the total of {order.looked_up_quantity} units that a look-up counted", order)
    return fill


def fill_of(report: ExecutionReport) -> Fill:
    assert report.last_quantity is not None
    assert report.last_price is not None
    return Fill(report.filled_quantity - report.last_quantity, report.filled_quantity, report.last_price)


def apply_report(order: Order, report: ExecutionReport, fill: Fill | None, batch: Batch) -> list[OrderEvent]:
    """Apply a report that contradicts nothing to the order. Return the events, the report's own last."""
    now = batch.now
    # A report may overtake the answer to the placement, and proves the same.
    events = lifecycle.acknowledged(
        order, report.exchange_order_id, now, occurred_at=report.occurred_at, cause=Cause(from_feed=True)
    )
    order.absent_since = None
    if fill is not None and order.execution_status in TERMINAL_EXECUTION and fill.end > order.reported_quantity:
        lifecycle.flag(order, f"it ended with {order.reported_quantity} filled, but was later filled up to {fill.end}", now)
    order.reported_quantity = max(order.reported_quantity, report.filled_quantity)
    if report.type is ReportType.NEW:
        look_up_if_incomplete(order, now)
        return events
    if fill is not None:
        count_fill(order, fill, batch.fills.get(order.id))
        check_average(order, report, now)
    elif report.type is ReportType.CANCEL_REJECTED:
        end_pending_cancel(order, now)
    else:
        advance(order, ExecutionStatus(report.type.value))
    look_up_if_incomplete(order, now)
    return [*events, new_event(order, report.occurred_at, data_of(report))]


def data_of(report: ExecutionReport) -> ReportedData:
    if report.last_quantity is None or report.last_price is None:
        return WITHOUT_FILL[report.type](sequence=report.sequence, reason=report.reason)
    return WITH_FILL[report.type](
        sequence=report.sequence,
        reason=report.reason,
        last_quantity=report.last_quantity,
        last_price=report.last_price,
        filled_quantity=report.filled_quantity,
    )


def count_fill(order: Order, fill: Fill, fills: list[Fill] | None) -> None:
    """Add a fill to the totals. `fills` are the known ones, or None if they arrive one after the other."""
    if fills is not None:
        fills.append(fill)
    if fill.end <= order.looked_up_quantity:
        # A look-up counted this fill, at an average that may be rounded. Once all fills it counted are known, use their value.
        exact = None if fills is None else value_up_to(order.looked_up_quantity, fills)
        if exact is None or fills is None:
            return
        later = sum_of(other.value for other in fills if other.start >= order.looked_up_quantity)
        order.filled_value, order.looked_up_quantity = EXACT.add(exact, later), 0
    else:
        order.filled_quantity += fill.end - fill.start
        order.filled_value = EXACT.add(order.filled_value, fill.value)
    order.average_price = average_price(order.filled_value, order.filled_quantity)
    follow_fill(order)


def check_average(order: Order, report: ExecutionReport, now: datetime) -> None:
    """Flag the order when all its fills are known exactly and the exchange's average differs from theirs."""
    if order.looked_up_quantity or not order.filled_quantity == order.reported_quantity == report.filled_quantity:
        return
    if report.average_price is not None and not is_average_of(report.average_price, order.filled_value, order.filled_quantity):
        lifecycle.flag(
            order, f"reported at an average of {report.average_price}, but its fills average {order.average_price}", now
        )


def look_up_if_incomplete(order: Order, now: datetime) -> None:
    """Have the order looked up if its reported total exceeds its fills. Reports may overtake one another, so wait a moment."""
    if order.reported_quantity > order.filled_quantity:
        lifecycle.look_up(order, now + lifecycle.FEED_GRACE)


def keep_dead_letters(batch: Batch) -> None:
    """Keep refused reports as dead letters, and have their orders looked up, or all open ones if a report names none.

    Reports that are already kept were handled when they first arrived.
    """
    if not batch.refused:
        return
    sequences = [one.report.sequence for one in batch.refused if one.report.sequence is not None]
    kept = DeadLetter.objects.filter(session_id=batch.session_id, sequence__in=sequences)
    known = set(kept.values_list("sequence", flat=True))
    new = [one for one in batch.refused if one.report.sequence not in known]
    for one in new:
        if one.order is not None:
            lifecycle.flag(one.order, one.reason, batch.now)
            batch.change(one.order)
        elif isinstance(one.report, BadReport) and one.report.client_order_id is None:
            look_up_open_orders_soon(active_feed(), batch.now)
    keep_reports(new, batch.session_id)


@in_transaction
def keep_dead_letter(report: ExecutionReport | BadReport, reason: str, session_id: str) -> None:
    """Keep a report that the database refused."""
    id = order_id_of(report)
    batch = Batch(session_id, timezone.now(), lock_orders([id] if id else []), {}, {}, ())
    batch.refused.append(Rejected(report, reason, batch.order_of(report)))
    store(batch)


def end_pending_cancel(order: Order, now: datetime) -> None:
    if order.claimed_until is not None:
        # The report overtook the answer to our cancel request, which must not make the cancel pending again.
        lifecycle.end_cancel(order, now)
    if order.execution_status == ExecutionStatus.PENDING_CANCEL:
        order.execution_status = open_status(order)


def follow_fill(order: Order) -> None:
    """Set the state that matches the totals; a pending cancel stays pending."""
    if order.filled_quantity == order.quantity:
        advance(order, ExecutionStatus.FILLED)
    elif order.execution_status == ExecutionStatus.NEW:
        advance(order, ExecutionStatus.PARTIALLY_FILLED)


def open_status(order: Order) -> ExecutionStatus:
    return ExecutionStatus.PARTIALLY_FILLED if order.filled_quantity else ExecutionStatus.NEW


def advance(order: Order, status: ExecutionStatus) -> None:
    """Move to `status` if EXECUTION_STATUS_CHANGES allows it. A terminal status leaves nothing for workers to do."""
    current = None if order.execution_status is None else ExecutionStatus(order.execution_status)
    if status not in EXECUTION_STATUS_CHANGES[current]:
        return
    order.execution_status = status
    if status in TERMINAL_EXECUTION:
        order.cancel_requested_at = order.next_attempt_at = order.claimed_until = None


def event_id_of(report: ExecutionReport, session_id: str) -> str:
    """An id that is unique across all sessions of an exchange (FIX tag 17 ExecID is unique within one session)."""
    return f"{session_id}:{report.execution_id}"


def order_id_of(report: ExecutionReport | BadReport) -> uuid.UUID | None:
    try:
        return uuid.UUID(report.client_order_id)
    except (ValueError, TypeError):
        return None
