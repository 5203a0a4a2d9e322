"""The effect of each exchange answer, look-up and request on an order.

Every function takes an order whose row is locked, changes it in memory, and returns the events that describe the
change. Nothing here reads a clock, a database or the network: the caller stores order and events in one transaction.
Only the pauses between attempts are random.
"""

import random
from datetime import datetime, timedelta
from typing import Literal

from orders.event_data import (
    NO_CAUSE,
    CanceledData,
    CancelRejectedData,
    CancelRequestedData,
    Cause,
    ErrorData,
    FailedData,
    HeldData,
    PendingCancelData,
    PlacedData,
    ReleasedData,
    RetryingData,
    RetryRequestedData,
)
from orders.models import Order, OrderEvent, new_event
from orders.proof_of_absence import provable_from
from orders.retry_policy import PlacementPolicy, retry_delay_s
from orders.states import STATUS_CHANGES, ErrorCode, ExecutionStatus, Limit, Refusal, Status

MAX_MESSAGE_LENGTH = 500
# How long to wait for a report that may be on its way, before a look-up.
FEED_GRACE = timedelta(seconds=2)


def change_status(order: Order, status: Status) -> None:
    """Change the status. Raises ValueError for a change that STATUS_CHANGES does not allow."""
    if status != order.status and status not in STATUS_CHANGES[Status(order.status)]:
        raise ValueError(f"order {order.id} cannot go from {order.status} to {status}")
    order.status = status


def clear_sent(order: Order) -> None:
    """Note a definite answer: no send of this order is unresolved any more."""
    order.may_be_at_exchange = False
    order.sent_valid_until = None


def settle(order: Order, status: Status, now: datetime) -> None:
    """Move the order to `status`, with nothing left for workers to do."""
    change_status(order, status)
    order.next_attempt_at = order.held_at = None
    order.claimed_until = None
    order.updated_at = now


def set_problem(order: Order, code: ErrorCode, message: str) -> str:
    """Set code and message; return the message as stored."""
    order.error_code = code
    order.error_message = message[:MAX_MESSAGE_LENGTH]
    return order.error_message


def begin_attempt(order: Order, now: datetime, policy: PlacementPolicy) -> None:
    """Claim the order for one exchange call. The claim is a lease: when it runs out, the order is due again."""
    order.attempt_count += 1
    order.claimed_until = order.next_attempt_at = now + timedelta(seconds=policy.lease_s)
    order.updated_at = now
    if order.status == Status.PENDING and not order.may_be_at_exchange:
        # Stored before anything is sent: if this worker dies during the call, the next one looks the order up first.
        order.may_be_at_exchange = True
        order.sent_valid_until = order.claimed_until


def acknowledged(
    order: Order,
    exchange_order_id: str,
    now: datetime,
    cause: Cause = NO_CAUSE,
    *,
    occurred_at: datetime | None = None,
) -> list[OrderEvent]:
    """The exchange has the order. This overrides any other state, however late it arrives.

    `occurred_at` is the time of the acknowledgement by the exchange's clock. It is recorded and decides nothing.
    """
    if order.status == Status.COMPLETED:
        if order.exchange_order_id != exchange_order_id:
            flag(order, f"acknowledged as {order.exchange_order_id}, and also as {exchange_order_id}", now)
        return []
    events = []
    if order.status == Status.CANCELED:
        order.cancel_requested_at = now
        events.append(new_event(order, now, CancelRequestedData(reason="acknowledged after it was canceled")))
    settle(order, Status.COMPLETED, now)
    clear_sent(order)
    order.exchange_order_id = exchange_order_id
    order.placed_at = now
    order.execution_status = ExecutionStatus.NEW
    order.error_code = order.error_message = None
    if order.cancel_requested_at:
        order.next_attempt_at = now
    return [new_event(order, occurred_at or now, PlacedData(exchange_order_id=exchange_order_id), cause), *events]


def refused(order: Order, reason: str, now: datetime, cause: Cause = NO_CAUSE) -> list[OrderEvent]:
    """The exchange refused the order for good. No earlier send can be unresolved, since that would have prevented this one."""
    clear_sent(order)
    if order.cancel_requested_at:
        return canceled(order, now, cause)
    return failed(order, ErrorCode.REFUSED_BY_EXCHANGE, f"The exchange refused the order: {reason}", now, cause)


def not_taken(
    order: Order,
    reason: str,
    now: datetime,
    policy: PlacementPolicy,
    retry_after_s: float | None = None,
    *,
    in_outage: bool = False,
    cause: Cause = NO_CAUSE,
) -> list[OrderEvent]:
    """The exchange certainly does not have the order: try again later, or give up."""
    clear_sent(order)
    if order.cancel_requested_at:
        return canceled(order, now, cause)
    if order.status == Status.ERROR or order.give_up_at <= now:
        return gave_up(order, f"The exchange did not take the order: {reason}", now, cause)
    set_problem(order, ErrorCode.EXCHANGE_UNAVAILABLE, f"The exchange did not take the order: {reason}")
    if in_outage:
        return retry_at(order, place_of(order), now, cause)
    delay_s = retry_delay_s(order.attempt_count, policy, random.random, retry_after_s)
    return retry_at(order, now + timedelta(seconds=delay_s), now, cause)


def place_of(order: Order) -> datetime:
    """The time from which the order is due in an outage: its acceptance, so that the orders accepted first go first.

    This includes orders that an operator retried or a halt held meanwhile. The circuit breaker limits how often they are tried.
    """
    return order.created_at


def not_sent(order: Order, now: datetime) -> list[OrderEvent]:
    """The claim ended before its send: the order is due again at once. There is nothing to record in its history."""
    clear_sent(order)
    if order.cancel_requested_at:
        return canceled(order, now)
    order.next_attempt_at = order.updated_at = now
    order.claimed_until = None
    return []


def unknown(
    order: Order, reason: str, valid_until: datetime, now: datetime, policy: PlacementPolicy, cause: Cause = NO_CAUSE
) -> list[OrderEvent]:
    """The order was sent without a credible answer: look it up before anything else. `valid_until` is that of the send."""
    order.sent_valid_until = valid_until
    delay_s = retry_delay_s(order.attempt_count, policy, random.random)
    set_problem(order, ErrorCode.OUTCOME_UNKNOWN, f"Sent, but the exchange gave no clear answer: {reason}")
    return retry_at(order, now + timedelta(seconds=delay_s), now, cause)


def look_up_failed(
    order: Order, reason: str, now: datetime, policy: PlacementPolicy, *, in_outage: bool = False, cause: Cause = NO_CAUSE
) -> list[OrderEvent]:
    """The look-up proved nothing; look up again later."""
    delay_s = retry_delay_s(order.attempt_count, policy, random.random)
    set_problem(order, ErrorCode.OUTCOME_UNKNOWN, f"Sent, but the look-up failed: {reason}")
    if order.status == Status.ERROR:
        # It is looked up for as long as it takes, and another event every minute would be of no use.
        order.next_attempt_at = now + timedelta(seconds=max(delay_s, policy.retry_cap_s))
        order.claimed_until = None
        order.updated_at = now
        return []
    return retry_at(order, place_of(order) if in_outage else now + timedelta(seconds=delay_s), now, cause)


def looked_up_and_not_found(
    order: Order, looked_up_at: datetime, now: datetime, policy: PlacementPolicy, cause: Cause = NO_CAUSE
) -> list[OrderEvent]:
    """The exchange has no such order: settle it if that proves its absence, or look it up again as soon as it would."""
    assert order.sent_valid_until is not None
    absence_provable_from = provable_from(order.sent_valid_until, policy)
    if looked_up_at <= absence_provable_from:
        order.next_attempt_at = absence_provable_from + timedelta(milliseconds=1)
        order.claimed_until = None
        order.updated_at = now
        return []
    clear_sent(order)
    if order.cancel_requested_at:
        return canceled(order, now, cause)
    if order.status == Status.ERROR or order.give_up_at <= now:
        return gave_up(order, "Looked up: the exchange does not have the order", now, cause)
    set_problem(order, ErrorCode.EXCHANGE_UNAVAILABLE, "Looked up: the exchange does not have the order")
    return retry_at(order, now, now, cause)


def terms_conflict(order: Order, reason: str, now: datetime, cause: Cause = NO_CAUSE) -> list[OrderEvent]:
    """The exchange has our id with other terms. No further call can explain that; an operator has to."""
    message = f"The exchange has this order's id with other terms: {reason}"
    events = error(order, ErrorCode.INTERNAL_ERROR, message, None, now, cause)
    if order.cancel_requested_at is not None:
        # The order at the exchange is not this one, and must not be canceled in its place.
        order.cancel_requested_at = None
        events.append(new_event(order, now, CancelRejectedData(reason=message)))
    return events


def retry_at(order: Order, when: datetime, now: datetime, cause: Cause = NO_CAUSE) -> list[OrderEvent]:
    order.next_attempt_at = when
    order.claimed_until = None
    order.updated_at = now
    assert order.error_code is not None
    assert order.error_message is not None, "the caller has said why (set_problem)"
    data = RetryingData(error_code=order.error_code, error_message=order.error_message, next_attempt_at=when)
    return [new_event(order, now, data, cause)]


def gave_up(order: Order, reason: str, now: datetime, cause: Cause = NO_CAUSE) -> list[OrderEvent]:
    """The order's time is over, and it is certainly not at the exchange."""
    if order.expires_at is not None and order.expires_at <= now:
        message = "The order expired before the exchange took it"
        return failed(order, ErrorCode.EXPIRED_BEFORE_PLACEMENT, message, now, cause)
    return failed(order, ErrorCode.EXCHANGE_UNAVAILABLE, reason, now, cause)


def overdue(order: Order, now: datetime) -> list[OrderEvent]:
    """`give_up_at` has passed and no call is under way: fail the order, or keep looking it up if it may be at the exchange."""
    if order.cancel_requested_at and not order.may_be_at_exchange:
        return canceled(order, now)
    if order.may_be_at_exchange:
        message = order.error_message or "Sent, but we stopped before the exchange's answer was recorded"
        return error(order, ErrorCode.OUTCOME_UNKNOWN, message, now, now)
    return gave_up(order, order.error_message or "The order could not be sent in time", now)


def failed(
    order: Order, code: ErrorCode, message: str, now: datetime, cause: Cause = NO_CAUSE, limit: Limit | None = None
) -> list[OrderEvent]:
    settle(order, Status.FAILED, now)
    data = FailedData(error_code=code, error_message=set_problem(order, code, message), limit=limit)
    return [new_event(order, now, data, cause)]


def error(
    order: Order, code: ErrorCode, message: str, next_attempt_at: datetime | None, now: datetime, cause: Cause = NO_CAUSE
) -> list[OrderEvent]:
    """The order may be at the exchange and that is not known yet, or something on our side failed."""
    settle(order, Status.ERROR, now)
    data = ErrorData(error_code=code, error_message=set_problem(order, code, message))
    order.next_attempt_at = next_attempt_at
    return [new_event(order, now, data, cause)]


def refused_by_limits(order: Order, refusal: Refusal, now: datetime) -> list[OrderEvent]:
    """The order is kept for audit; it was never due to be sent."""
    return failed(order, ErrorCode.REFUSED_BY_LIMITS, refusal.message, now, limit=refusal.limit)


def held(order: Order, now: datetime) -> list[OrderEvent]:
    """The order would be sent, but trading is halted: it waits for the end of the halt instead of being due all the time."""
    order.held_at = order.updated_at = now
    order.next_attempt_at = order.claimed_until = None
    return [new_event(order, now, HeldData(reason="trading is halted"))]


def released(order: Order, halted: timedelta, now: datetime) -> list[OrderEvent]:
    """Trading resumes. The time in which the order could not be sent does not count, but its own expiry still holds."""
    order.give_up_at += halted
    if order.expires_at is not None:
        order.give_up_at = min(order.give_up_at, order.expires_at)
    if order.held_at is not None:
        order.next_attempt_at = now
        order.held_at = None
    order.updated_at = now
    halted_s = halted.total_seconds()
    data = ReleasedData(halted_s=halted_s, next_attempt_at=order.next_attempt_at, give_up_at=order.give_up_at)
    return [new_event(order, now, data)]


def canceled(order: Order, now: datetime, cause: Cause = NO_CAUSE) -> list[OrderEvent]:
    """The order is canceled before it reached the exchange."""
    settle(order, Status.CANCELED, now)
    order.cancel_requested_at = None
    return [new_event(order, now, CanceledData(), cause)]


def retry_requested(order: Order, now: datetime, policy: PlacementPolicy, cause: Cause = NO_CAUSE) -> list[OrderEvent]:
    """An operator wants a failed order retried. If it may be at the exchange, it is looked up first."""
    change_status(order, Status.PENDING)
    order.give_up_at = policy.give_up_at(now, order.expires_at)
    order.next_attempt_at = order.updated_at = now
    will_be: Literal["looked up", "sent"] = "looked up" if order.may_be_at_exchange else "sent"
    return [new_event(order, now, RetryRequestedData(will_be=will_be), cause)]


def cancel_requested(order: Order, now: datetime, cause: Cause = NO_CAUSE) -> list[OrderEvent]:
    """The order is to be canceled; repeating the request changes nothing.

    It is canceled at once if none of its sends can have arrived. Otherwise the cancel is stored for the workers: a live claim
    ends first, an order that may be at the exchange is looked up, and one that is there is canceled there.
    """
    if order.cancel_requested_at is not None:
        return []
    # The exchange has been asked already. Asking again does no harm, and helps if the result was lost.
    is_repeat = order.execution_status == ExecutionStatus.PENDING_CANCEL
    requested = new_event(order, now, CancelRequestedData(), cause)
    if order.status != Status.COMPLETED and not order.may_be_at_exchange:
        return [requested, *canceled(order, now)]
    order.cancel_requested_at = order.updated_at = now
    if order.claimed_until is None or order.claimed_until <= now:
        order.next_attempt_at = now
    return [] if is_repeat else [requested]


def cancel_taken(order: Order, now: datetime, cause: Cause = NO_CAUSE) -> list[OrderEvent]:
    """The exchange took the request. The feed will report whether the order was canceled, or filled first."""
    end_cancel(order, now)
    if order.execution_status == ExecutionStatus.PENDING_CANCEL:
        return []
    order.execution_status = ExecutionStatus.PENDING_CANCEL
    return [new_event(order, now, PendingCancelData(), cause)]


def cancel_rejected(order: Order, reason: str, now: datetime, cause: Cause = NO_CAUSE) -> list[OrderEvent]:
    """The exchange has nothing to cancel. The feed should report how the order ended; if it does not, a look-up will tell."""
    end_cancel(order, now)
    look_up(order, now + FEED_GRACE)
    return [new_event(order, now, CancelRejectedData(reason=reason), cause)]


def cancel_not_executed(order: Order, now: datetime, policy: PlacementPolicy) -> list[OrderEvent]:
    """The cancel did not reach the exchange, or was not answered. Try again later: asking twice does no harm."""
    order.next_attempt_at = now + timedelta(seconds=retry_delay_s(order.attempt_count, policy, random.random))
    order.claimed_until = None
    order.updated_at = now
    return []


def look_up(order: Order, when: datetime) -> None:
    """Have the update consumer look the order up, at `when` at the latest."""
    order.look_up_at = when if order.look_up_at is None else min(order.look_up_at, when)


def flag(order: Order, discrepancy: str, look_up_at: datetime) -> None:
    """The exchange's statements about the order conflict. Operators see this, and look-ups go on until one settles it."""
    order.discrepancy = discrepancy[:MAX_MESSAGE_LENGTH]
    order.look_up_at = look_up_at


def settle_discrepancy(order: Order) -> None:
    """A look-up agreed with everything known about the order."""
    order.discrepancy = order.look_up_at = order.absent_since = None


def ended_by_operator(order: Order, now: datetime, *, by: str, reason: str) -> list[OrderEvent]:
    """The exchange no longer has the order and will never report its end. A late fill still counts."""
    assert order.absent_since is not None
    data = CanceledData(reason=reason, absent_since=order.absent_since)
    order.execution_status = ExecutionStatus.CANCELED
    end_cancel(order, now)
    settle_discrepancy(order)
    return [new_event(order, now, data, Cause(by=by))]


def end_cancel(order: Order, now: datetime) -> None:
    """The cancel needs no further call of the exchange."""
    order.cancel_requested_at = order.next_attempt_at = order.claimed_until = None
    order.updated_at = now
