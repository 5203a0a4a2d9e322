"""Applying what the exchange reports: totals, states and events of orders, in any order and any number of times."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from exchange.reports import BadReport, ExecutionReport, ReportType, parse_frame
from orders import lifecycle
from orders.feeds import began_before, move_position
from orders.models import LastPrice, Order, OrderEvent, SetAsideReport, event
from orders.states import EXECUTION_STATUS_CHANGES, TERMINAL_EXECUTION, EventType, ExecutionStatus
from orders.storage import lock_orders, save_changes

log = structlog.get_logger()

EIGHT_PLACES = Decimal("0.00000001")
NOT_OURS = "no order of ours has this client_order_id"
# How an order ends without being filled, in the exchange's words and in ours.
ENDS = frozenset({ExecutionStatus.CANCELED, ExecutionStatus.REJECTED, ExecutionStatus.EXPIRED})
NOTE_LAST_PRICES = """
    INSERT INTO orders_lastprice AS known (instrument, price, executed_at)
    SELECT * FROM unnest(%s::text[], %s::numeric[], %s::timestamptz[])
    ON CONFLICT (instrument) DO UPDATE SET price = excluded.price, executed_at = excluded.executed_at
    WHERE known.executed_at <= excluded.executed_at"""


class CannotApply(Exception):
    """The report is about no order of ours, or says what cannot be."""


def apply_reports(
    reports: Sequence[ExecutionReport | BadReport], session_id: str, feed: str | None = None, position: int | None = None
) -> None:
    """Apply reports of one feed session in one transaction; those that cannot be applied are set aside.

    With `feed` and `position` it also moves that feed's position, in the same transaction.
    Raises OperationalError or InterfaceError while the database is away; nothing is stored then.
    """
    try:
        with transaction.atomic():
            apply_together(reports, session_id)
            if feed is not None and position is not None:
                move_position(feed, session_id, position)
    except (OperationalError, InterfaceError):
        raise
    except (DatabaseError, ValueError) as error:
        if len(reports) > 1:
            for report in reports:
                apply_reports([report], session_id)
        else:
            log.exception("report_not_storable", raw=reports[0].raw)
            set_aside([(reports[0], f"cannot be stored: {error}")], session_id)
        if feed is not None and position is not None:
            move_position(feed, session_id, position)


def apply_together(reports: Sequence[ExecutionReport | BadReport], session_id: str) -> None:
    now = timezone.now()
    readable = [report for report in reports if isinstance(report, ExecutionReport)]
    orders = lock_orders([id for report in readable if (id := order_id_of(report)) is not None])
    known = owners_of({event_id_of(report, session_id) for report in readable})
    fresh = (report for report in readable if event_id_of(report, session_id) not in known)
    pruned = pruned_orders(orders[id] for report in fresh if (id := order_id_of(report)) in orders)
    events: list[OrderEvent] = []
    changed: dict[object, Order] = {}
    not_applied: list[tuple[ExecutionReport | BadReport, str]] = []
    for report in reports:
        if isinstance(report, BadReport):
            not_applied.append((report, report.error))
            continue
        try:
            order = owner(report, orders)
            if is_repeat(report, session_id, known) or order.id in pruned:
                continue
            events += apply_report(order, report, session_id)
        except CannotApply as problem:
            not_applied.append((report, str(problem)))
        else:
            known[event_id_of(report, session_id)] = order.id
            order.updated_at = now
            changed[order.id] = order
    save_changes(list(changed.values()), events)
    note_last_prices(events)
    set_aside(not_applied, session_id)


def owners_of(event_ids: Collection[str]) -> dict[str, uuid.UUID]:
    """The order of each event that is known already."""
    return dict(OrderEvent.objects.filter(event_id__in=event_ids).values_list("event_id", "order_id"))


def is_repeat(report: ExecutionReport, session_id: str, known: Mapping[str, uuid.UUID]) -> bool:
    """Raises CannotApply when the exchange has given its id to a report about another order."""
    order_id = known.get(event_id_of(report, session_id))
    if order_id is not None and order_id != order_id_of(report):
        raise CannotApply("its execution_id is that of a report about another order")
    return order_id is not None


def pruned_orders(orders: Iterable[Order]) -> set[uuid.UUID]:
    """Those that ended so long ago that their history is gone: what is reported of them now was counted then."""
    ended = {order.id for order in orders if order.execution_status in TERMINAL_EXECUTION}
    if not ended:
        return ended
    pruned = ended.difference(OrderEvent.objects.filter(order_id__in=ended).values_list("order_id", flat=True))
    if pruned:
        log.info("reports_of_pruned_orders", orders=len(pruned))
    return pruned


def apply_report(order: Order, report: ExecutionReport, session_id: str) -> list[OrderEvent]:
    """Change the order as the report says; returns the events. Raises CannotApply and has changed nothing then."""
    counts = not is_contained(order, session_id, report.sequence)
    last_quantity = report.last_quantity or 0
    if counts and order.filled_quantity + last_quantity > order.quantity:
        raise CannotApply("more would be filled than was ordered")
    if order.exchange_order_id not in (None, report.exchange_order_id):
        raise CannotApply(f"the order is {order.exchange_order_id} at the exchange")
    # A report may be faster than the answer to the placement: it proves as much.
    events = lifecycle.acknowledged(order, report.exchange_order_id, report.occurred_at, from_feed=True)
    if report.type is ReportType.NEW:
        for placed in events[:1]:
            placed.event_id = event_id_of(report, session_id)
        return events
    data = {name: value for name in ("reason", "sequence") if (value := getattr(report, name)) is not None}
    if report.last_quantity is not None and report.last_price is not None:
        if counts:
            count_fill(order, report.last_quantity, report.last_price, report)
        data |= {"last_quantity": report.last_quantity, "last_price": report.last_price}
        data |= {"filled_quantity": report.filled_quantity}
    elif report.type is ReportType.CANCEL_REJECTED:
        end_pending_cancel(order, report)
    else:
        advance(order, ExecutionStatus(report.type.value))
    happened = event(order, EventType(report.type.value), report.occurred_at, **data)
    happened.event_id = event_id_of(report, session_id)
    return [*events, happened]


def is_contained(order: Order, session_id: str, sequence: int) -> bool:
    """Whether the order's totals come from a look-up that contains this report of the session already."""
    if order.reconciled_session is None:
        return False
    if order.reconciled_session == session_id:
        return sequence <= (order.reconciled_sequence or 0)
    # What an earlier session reported was in the exchange's book before the later one began.
    return began_before(session_id, order.reconciled_session)


def note_last_prices(events: Sequence[OrderEvent]) -> None:
    """Keep each instrument's latest execution price, whatever order the reports come in."""
    latest: dict[str, LastPrice] = {}
    for happened in events:
        instrument = happened.order.instrument
        known = latest.get(instrument)
        if "last_price" in happened.data and (known is None or known.executed_at <= happened.occurred_at):
            price = happened.data["last_price"]
            latest[instrument] = LastPrice(instrument=instrument, price=price, executed_at=happened.occurred_at)
    if latest:
        # One order for all, so that two consumers cannot deadlock.
        rows = [latest[instrument] for instrument in sorted(latest)]
        columns = [row.instrument for row in rows], [row.price for row in rows], [row.executed_at for row in rows]
        with connection.cursor() as cursor:
            cursor.execute(NOTE_LAST_PRICES, columns)


def end_pending_cancel(order: Order, report: ExecutionReport) -> None:
    if order.claimed_until is not None:
        # Faster than the answer to our request, which must not make it pending again.
        lifecycle.end_cancel(order, report.occurred_at)
    if order.execution_status == ExecutionStatus.PENDING_CANCEL:
        order.execution_status = open_status(order)


def count_fill(order: Order, quantity: int, price: Decimal, report: ExecutionReport) -> None:
    order.filled_quantity += quantity
    order.filled_value += quantity * price
    order.average_price = (order.filled_value / order.filled_quantity).quantize(EIGHT_PLACES, ROUND_HALF_EVEN)
    if order.reconciled_session is not None and order.filled_quantity == report.filled_quantity:
        # Our value began with an average that was rounded; the exchange's average did not.
        order.average_price = report.average_price
    follow_fill(order)


def follow_fill(order: Order) -> None:
    """The state that goes with the totals; a cancel that is under way stays so."""
    if order.filled_quantity == order.quantity:
        advance(order, ExecutionStatus.FILLED)
    elif order.execution_status == ExecutionStatus.NEW:
        advance(order, ExecutionStatus.PARTIALLY_FILLED)


def open_status(order: Order) -> ExecutionStatus:
    return ExecutionStatus.PARTIALLY_FILLED if order.filled_quantity else ExecutionStatus.NEW


def advance(order: Order, status: ExecutionStatus) -> None:
    """Take on `status` if the table of changes allows it; a terminal one leaves nothing for workers to do."""
    current = None if order.execution_status is None else ExecutionStatus(order.execution_status)
    if status not in EXECUTION_STATUS_CHANGES[current]:
        return
    order.execution_status = status
    if status in TERMINAL_EXECUTION:
        order.cancel_requested_at = order.next_attempt_at = order.claimed_until = None


def event_id_of(report: ExecutionReport, session_id: str) -> str:
    """Unique over all sessions of an exchange (FIX tag 17 ExecID is unique inside one)."""
    return f"{session_id}:{report.execution_id}"


def order_id_of(report: ExecutionReport) -> uuid.UUID | None:
    try:
        return uuid.UUID(report.client_order_id)
    except ValueError:
        return None


def owner(report: ExecutionReport, orders: dict[uuid.UUID, Order]) -> Order:
    """The order that the report is about. Raises CannotApply."""
    id = order_id_of(report)
    if id is None or id not in orders:
        raise CannotApply(NOT_OURS)
    return orders[id]


def set_aside(not_applied: Sequence[tuple[ExecutionReport | BadReport, str]], session_id: str) -> None:
    for report, reason in not_applied:
        log.warning("report_set_aside", reason=reason, session_id=session_id, sequence=report.sequence)
    kept = [
        SetAsideReport(raw=report.raw, reason=reason, session_id=session_id, sequence=report.sequence)
        for report, reason in not_applied
    ]
    # One that comes again is kept once.
    SetAsideReport.objects.bulk_create(kept, ignore_conflicts=True)


def replay_set_aside() -> tuple[int, int]:
    """Try every report that is set aside once more, oldest first; returns how many were applied and how many were not."""
    applied = remaining = 0
    for kept in SetAsideReport.objects.filter(applied_at__isnull=True).order_by("id").iterator(chunk_size=500):
        with transaction.atomic():
            if apply_kept(kept):
                kept.applied_at = timezone.now()
                applied += 1
            else:
                remaining += 1
            kept.save()
    return applied, remaining


def apply_kept(kept: SetAsideReport) -> bool:
    """True when the report is applied now, or was before; else its reason is brought up to date."""
    report = parse_frame(kept.raw.encode())
    if not isinstance(report, ExecutionReport):
        kept.reason = report.error if isinstance(report, BadReport) else "not a report"
        return False
    known = owners_of({event_id_of(report, kept.session_id)})
    id = order_id_of(report)
    try:
        order = owner(report, lock_orders([id]) if id else {})
        if is_repeat(report, kept.session_id, known) or pruned_orders([order]):
            return True
        events = apply_report(order, report, kept.session_id)
    except CannotApply as problem:
        kept.reason = str(problem)
        return False
    order.updated_at = timezone.now()
    save_changes([order], events)
    note_last_prices(events)
    return True
