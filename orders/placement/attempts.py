"""Claim orders that are due, make one exchange call for each, and record the outcomes.

claim   one transaction: takes the lease, counts the attempt, sets `may_be_at_exchange` - before anything is sent
execute one call of the gateway, with no transaction open
record  one transaction: orders and events, in bulk
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from functools import partial

import structlog
from django.db import connection
from django.db.models import Q

from exchange import gateway as venue
from exchange.gateway import Gateway
from infrastructure.database.base import in_transaction
from infrastructure.database.batches import store_all_or_each
from infrastructure.database.clock import DatabaseClock, database_now, our_clock
from orders import lifecycle
from orders.dead_letters import contradicts, keep_answer
from orders.event_data import Cause
from orders.models import Order, OrderEvent
from orders.placement.circuit_breaker import Source
from orders.retry_policy import PlacementPolicy
from orders.risk.halts import halts_in_force, is_halted
from orders.states import ErrorCode, Status
from orders.storage import lock_orders, save_changes

log = structlog.get_logger()

# When a halt begins, a backlog is held in steps. A claim that finds only orders to hold goes on for at most so many steps.
MAX_HELD = 500
MAX_HOLDING_STEPS = 10
MAX_OVERDUE = 1000
MAX_PUT_BACK = 10_000
# Rows are found by the index `order_due`, so they are not locked in id order as elsewhere. SKIP LOCKED never waits, so this
# cannot deadlock. The ids form an array because PostgreSQL expects an array to be short, and so does not scan the whole table.
PUT_BACK = """
UPDATE orders_order SET next_attempt_at = created_at WHERE id = ANY(ARRAY(
    SELECT id FROM orders_order
    WHERE next_attempt_at > created_at AND claimed_until IS NULL AND status IN ('pending', 'completed')
    ORDER BY next_attempt_at DESC, id DESC LIMIT %s FOR UPDATE SKIP LOCKED
))"""


class Step(Enum):
    SEND = "send"
    LOOK_UP = "look up"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to make one exchange call for an order, until `claimed_until` by `clock`.

    `clock` tells how much of the claim is left even if this machine's clock is set meanwhile.
    """

    order: Order
    step: Step
    attempt: int
    claimed_until: datetime
    clock: DatabaseClock


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing was sent: too little of the lease was left, or trading may have been halted since the claim."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a claim. `sent_valid_until` is the send's `valid_until`; `started_at` is when the call began.

    `in_outage`: the exchange as a whole is unavailable, so the outcome says nothing about the order.
    """

    claim: Claim
    outcome: venue.PlacementOutcome | venue.LookUpOutcome | venue.CancelOutcome | NotSent
    started_at: datetime
    took_s: float
    sent_valid_until: datetime | None = None
    in_outage: bool = False


def next_step(order: Order) -> Step:
    """The exchange call that a due order needs next."""
    if order.status == Status.COMPLETED:
        return Step.CANCEL
    return Step.LOOK_UP if order.may_be_at_exchange else Step.SEND


def claim_due_orders(
    limit: int, policy: PlacementPolicy, *, clock: DatabaseClock | None = None, excluded: Sequence[Source] = ()
) -> list[Claim]:
    """Claim up to `limit` due orders, oldest first, skipping those that another worker has locked.

    Orders past `give_up_at` are left to `finish_overdue_orders`, so that nothing is sent after that time.
    An order that would be sent while trading is halted is held: it is not due again until it is released.
    Orders whose instrument and account are both in `excluded` are skipped. Raises ClockWrong.
    """
    clock = clock or our_clock.measure()
    claims, held_count = claim_or_hold(limit, limit, policy, clock, excluded)
    for _ in range(MAX_HOLDING_STEPS):
        if claims or not held_count:
            break
        claims, held_count = claim_or_hold(limit, max(limit, MAX_HELD), policy, clock, excluded)
    return claims


@in_transaction
def claim_or_hold(
    limit: int, look_at: int, policy: PlacementPolicy, clock: DatabaseClock, excluded: Sequence[Source]
) -> tuple[list[Claim], int]:
    """Of the first `look_at` due orders, hold those halted and claim up to `limit`. Return the claims and the number held."""
    now = clock.now()
    may_be_called = Q(give_up_at__gt=now) | ~Q(status=Status.PENDING)
    if excluded:
        instruments, accounts = zip(*excluded, strict=True)
        may_be_called &= ~Q(instrument__in=instruments, account_id__in=accounts)
    due = list(Order.objects.due(now).filter(may_be_called).select_for_update(skip_locked=True)[:look_at])
    halted = hold_halted(due, now)
    claims = []
    for order in [order for order in due if order.id not in halted][:limit]:
        step = next_step(order)
        lifecycle.begin_attempt(order, now, policy)
        assert order.claimed_until is not None
        claims.append(Claim(order, step, order.attempt_count, order.claimed_until, clock))
    save_changes([claim.order for claim in claims], [])
    return claims, len(halted)


def hold_halted(orders: Sequence[Order], now: datetime) -> set[uuid.UUID]:
    """Hold those of these locked orders that would be sent while trading is halted. Return their ids."""
    sends = [order for order in orders if next_step(order) is Step.SEND]
    # Read the halts after selecting the orders: a halt must not hold an order that was accepted after its end.
    halts = halts_in_force() if sends else []
    held = [order for order in sends if is_halted(order, halts)]
    save_changes(held, [event for order in held for event in lifecycle.held(order, now)])
    return {order.id for order in held}


def not_sent(claim: Claim) -> Result:
    return Result(claim, NotSent(), claim.clock.now(), 0.0)


async def execute(claim: Claim, gateway: Gateway, policy: PlacementPolicy) -> Result:
    """Make the claim's one call. Nothing the exchange does makes it raise; see `exchange.gateway` for the outcomes."""
    started_at = claim.clock.now()
    deadline = claim.claimed_until - timedelta(seconds=policy.clock_margin_s)
    valid_until = min(started_at + timedelta(seconds=policy.exchange_timeout_s), claim.order.give_up_at)
    if claim.step is Step.SEND and (valid_until > deadline or valid_until <= started_at):
        # This process was delayed, perhaps suspended. Another worker may hold the order by the time the exchange answers.
        return Result(claim, NotSent(), started_at, 0.0)
    outcome: venue.PlacementOutcome | venue.LookUpOutcome | venue.CancelOutcome
    try:
        match claim.step:
            case Step.SEND:
                outcome = await gateway.place(claim.order.placement(valid_until))
            case Step.LOOK_UP:
                outcome = await gateway.look_up(claim.order.placement(valid_until))
            case Step.CANCEL:
                outcome = await gateway.cancel(str(claim.order.id))
    except Exception as error:
        log.exception("gateway_broke", order_id=str(claim.order.id), step=claim.step.value)
        outcome = venue.Unknown(f"internal error: {error!r}")
    took_s = (claim.clock.now() - started_at).total_seconds()
    return Result(claim, outcome, started_at, took_s, valid_until if claim.step is Step.SEND else None)


def record(results: Sequence[Result], policy: PlacementPolicy) -> None:
    """Store the outcomes of claims. A result that cannot be stored does not prevent the others from being stored.

    Raises DatabaseUnavailable while the database is unavailable; nothing is stored then.
    """

    def refuse(result: Result, error: Exception) -> None:
        log.error("result_not_recordable", order_id=str(result.claim.order.id), outcome=repr(result.outcome), exc_info=error)
        record_internal_error(result, policy)

    if results:
        store_all_or_each(results, partial(record_together, policy=policy), refuse)


@in_transaction
def record_together(results: Sequence[Result], policy: PlacementPolicy) -> None:
    orders = lock_orders([result.claim.order.id for result in results])
    now = max(result.claim.clock.now() for result in results)
    events: list[OrderEvent] = []
    changed = {}
    for result in results:
        order = orders[result.claim.order.id]
        if claim_is_current(order, result.claim) or isinstance(result.outcome, venue.Acknowledged | venue.Found):
            events += apply(order, result, now, policy)
            changed[order.id] = order
    save_changes(list(changed.values()), events)
    hold_halted([changed[result.claim.order.id] for result in results if is_unsent(result, changed)], now)


def is_unsent(result: Result, changed: Mapping[uuid.UUID, Order]) -> bool:
    """Whether the order is due again without having been sent. If a halt is the reason, claiming it again would be pointless."""
    order = changed.get(result.claim.order.id)
    return isinstance(result.outcome, NotSent) and order is not None and order.status == Status.PENDING


def claim_is_current(order: Order, claim: Claim) -> bool:
    """False when the lease ran out and another worker has since claimed or settled the order."""
    return order.attempt_count == claim.attempt and order.claimed_until == claim.claimed_until


def apply(order: Order, result: Result, now: datetime, policy: PlacementPolicy) -> list[OrderEvent]:
    """Apply the outcome to the order and return the events that describe the change."""
    if isinstance(result.outcome, NotSent):
        return lifecycle.not_sent(order, now)
    cause = Cause(attempt=result.claim.attempt, took_ms=round(result.took_s * 1000, 1))
    if isinstance(result.outcome, venue.TermsConflict):
        if result.outcome.raw:
            keep_answer(order, result.outcome.reason, result.outcome.raw)
        return lifecycle.terms_conflict(order, result.outcome.reason, now, cause)
    if result.claim.step is Step.SEND:
        return apply_send(order, result, now, policy, cause)
    if result.claim.step is Step.LOOK_UP:
        return apply_look_up(order, result, now, policy, replace(cause, looked_up=True))
    return apply_cancel(order, result, now, policy, cause)


def apply_send(order: Order, result: Result, now: datetime, policy: PlacementPolicy, cause: Cause) -> list[OrderEvent]:
    match result.outcome:
        case venue.Acknowledged(exchange_order_id):
            return lifecycle.acknowledged(order, exchange_order_id, now, cause)
        case venue.Refused(reason):
            return lifecycle.refused(order, reason, now, cause)
        case venue.Unavailable(reason, retry_after_s):
            return lifecycle.not_taken(order, reason, now, policy, retry_after_s, in_outage=result.in_outage, cause=cause)
        case venue.Unknown(reason) if result.sent_valid_until is not None:
            return lifecycle.unknown(order, reason, result.sent_valid_until, now, policy, cause)
    raise ValueError(f"no rule for a send and {result.outcome}")


def apply_look_up(order: Order, result: Result, now: datetime, policy: PlacementPolicy, cause: Cause) -> list[OrderEvent]:
    match result.outcome:
        case venue.Found(exchange_order_id=exchange_order_id):
            return lifecycle.acknowledged(order, exchange_order_id, now, cause)
        case venue.NotFound():
            return lifecycle.looked_up_and_not_found(order, result.started_at, now, policy, cause)
        case venue.Contradiction(reason, raw):
            contradicts(order, reason, raw, now)
            return lifecycle.look_up_failed(order, reason, now, policy, cause=cause)
        case venue.Unavailable(reason) | venue.Unknown(reason):
            return lifecycle.look_up_failed(order, reason, now, policy, in_outage=result.in_outage, cause=cause)
    raise ValueError(f"no rule for a look-up and {result.outcome}")


def apply_cancel(order: Order, result: Result, now: datetime, policy: PlacementPolicy, cause: Cause) -> list[OrderEvent]:
    match result.outcome:
        case venue.CancelRequested():
            return lifecycle.cancel_taken(order, now, cause)
        case venue.CancelTooLate(reason):
            return lifecycle.cancel_rejected(order, reason, now, cause)
        case venue.NotFound():
            return lifecycle.cancel_rejected(order, "the exchange does not know the order", now, cause)
        case venue.Unavailable() | venue.Unknown():
            return lifecycle.cancel_not_executed(order, now, policy)
    raise ValueError(f"no rule for a cancel and {result.outcome}")


@in_transaction
def record_internal_error(result: Result, policy: PlacementPolicy) -> None:
    """Leave the order to an operator. It stays marked as sent, so that a retry looks it up first."""
    order = lock_orders([result.claim.order.id])[result.claim.order.id]
    if claim_is_current(order, result.claim):
        now = result.claim.clock.now()
        if order.status == Status.COMPLETED:
            events = lifecycle.cancel_not_executed(order, now, policy)
        else:
            message = f"The exchange's answer could not be stored: {result.outcome!r}"
            # A pending cancel is still executed; otherwise only an operator can decide what to do.
            again_at = order.cancel_requested_at and now + timedelta(seconds=policy.retry_cap_s)
            events = lifecycle.error(order, ErrorCode.INTERNAL_ERROR, message, again_at, now)
        save_changes([order], events)


def put_waiting_orders_back() -> int:
    """Make waiting orders due in the order of acceptance again, when an outage begins or ends. Return how many there were.

    Their pauses grew with each "unavailable", on any worker, although that said nothing about the order. Left alone, new
    orders would go first and the one that has waited longest last.
    """
    with connection.cursor() as cursor:
        cursor.execute(PUT_BACK, [MAX_PUT_BACK])
        return int(cursor.rowcount)


@in_transaction
def finish_overdue_orders() -> int:
    """Settle pending orders whose time is over and that have no live claim. Return how many were settled or held.

    For an order that waits for the end of a halt, `give_up_at` does not count until then, but its own expiry does.
    """
    now = database_now()
    unclaimed = Order.objects.select_for_update(skip_locked=True).filter(
        Q(claimed_until__isnull=True) | Q(claimed_until__lte=now), status=Status.PENDING
    )
    orders = list(unclaimed.filter(held_at__isnull=True, give_up_at__lte=now).order_by("give_up_at")[:MAX_OVERDUE])
    halted = hold_halted([order for order in orders if order.expires_at is None or order.expires_at > now], now)
    over = [order for order in orders if order.id not in halted]
    over += unclaimed.filter(held_at__isnull=False, expires_at__lte=now).order_by("expires_at")[:MAX_OVERDUE]
    events = [event for order in over for event in lifecycle.overdue(order, now)]
    save_changes(over, events)
    return len(halted) + len(over)
