"""Accepting orders: they are stored with their first event and a wake-up in one transaction, or found to be known already.

`accept_orders` is the only way in, for one order or a batch of the REST API and for the form of the trading page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import Any

from django.db import IntegrityError
from django.utils import timezone
from uuid_utils.compat import uuid7

from infrastructure.database.base import in_transaction
from infrastructure.database.clock import our_clock
from infrastructure.database.errors import TransactionUndone, violated_constraint
from orders import lifecycle
from orders.event_data import AcceptedData
from orders.instruments import canonical_instrument
from orders.models import AccountLimits, Halt, Order, new_event, new_event_id
from orders.order_entry.group_commit import PendingInsert, store_request
from orders.retry_policy import PlacementPolicy
from orders.risk.limits import is_too_fast, lock_limits, refusals
from orders.risk.pre_trade import Safety, safety_of
from orders.states import EventType, Refusal
from orders.storage import EventSummary, as_json, order_row, publish_events, save_changes
from orders.wakeups import carrier


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What a client asks for, validated: `quantity` in units of the instrument, `limit_price` per unit.

    The instrument may be given in any letter case. Raises ValueError when it is none.
    """

    type: str
    side: str
    instrument: str
    quantity: int
    limit_price: Decimal | None = None
    expires_at: datetime | None = None
    client_order_id: str | None = None

    def __post_init__(self) -> None:
        # Here every way in comes by: halts, limits, what is stored and what is replayed all see the same spelling.
        object.__setattr__(self, "instrument", canonical_instrument(self.instrument))


@dataclass(frozen=True, slots=True)
class Accepted:
    """`replayed` is true when the orders were known already, with the same terms."""

    orders: list[Order]
    replayed: bool


@dataclass
class ClientOrderIdConflict(Exception):
    """Some client order ids are known already, and not all of them with the same terms; nothing was stored.

    `problems` maps the index of each such order to the reason.
    """

    problems: dict[int, str] = field(default_factory=dict)


@dataclass
class AlreadyExpired(Exception):
    """`expires_at` of the orders with these indexes has passed; nothing was stored."""

    indexes: list[int]


@dataclass
class TradingHalted(Exception):
    """Nothing new is accepted at present; nothing was stored.

    `halts` are those of everything, for all or for this account. Without any, `by_index` has the halts of instruments, by
    the orders that they are of.
    """

    halts: list[Halt]
    by_index: dict[int, Halt]


@dataclass
class TooManyOrders(Exception):
    """More orders than the account may send in one second; nothing was stored. `never_fits` when a pause cannot help."""

    per_second: int
    never_fits: bool


@dataclass
class RefusedByLimits(Exception):
    """Some orders break limits of their account, by index; nothing was stored."""

    refusals: dict[int, Refusal]


def accept_orders(account_id: int, requested: Sequence[NewOrder], *, keep_refused: bool = False) -> Accepted:
    """Store all of the orders or none. The client order ids among them must differ.

    With `keep_refused` orders that break limits are stored all the same, as failed, for audit: nothing of them is sent.
    Safe to repeat: the same ids with the same terms give the orders that exist.
    Raises ClientOrderIdConflict, AlreadyExpired, TradingHalted, TooManyOrders, RefusedByLimits and ClockWrong.
    """
    try:
        orders = store_at_once(account_id, requested) or store(account_id, requested, keep_refused=keep_refused)
        return Accepted(orders, replayed=False)
    except (AlreadyExpired, TradingHalted, TooManyOrders, RefusedByLimits):
        # A repeat is answered as before, however late it comes and whatever has changed since.
        if not any_known(account_id, requested):
            raise
    except IntegrityError as error:
        if violated_constraint(error) != "one_order_per_client_order_id":
            raise
    return Accepted(known_orders(account_id, requested), replayed=True)


def store_at_once(account_id: int, requested: Sequence[NewOrder]) -> list[Order] | None:
    """Store the orders in one statement, as nearly all can be. None on any conflict: the caller falls back to `store`.

    Raises ClockWrong, since their ids and times would be wrong as well.
    """
    our_clock.ensure_right()
    now = timezone.now()
    if any(request.expires_at and request.expires_at <= now for request in requested):
        return None
    policy = PlacementPolicy.from_settings()
    orders = [new_order(account_id, request, now, policy) for request in requested]
    events = [EventSummary(order.id, EventType.ACCEPTED.value, new_event_id()) for order in orders]
    rows = [order_row(order) | {"event_id": event.event_id} for order, event in zip(orders, events, strict=True)]
    rows.sort(key=itemgetter("client_order_id"))
    ask = PendingInsert(
        ids=[order.id for order in orders],
        account_id=account_id,
        instruments=list({request.instrument for request in requested}),
        client_order_id=rows[0]["client_order_id"],
        orders=as_json(rows),
    )
    try:
        if not store_request(ask):
            return None
    except TransactionUndone:
        # Another transaction holds a lock on the account, or stores the same client order id: `store` waits longer.
        return None
    publish_events(events)
    carrier().notify_workers([order.id for order in orders])
    return orders


@in_transaction
def store(account_id: int, requested: Sequence[NewOrder], *, keep_refused: bool) -> list[Order]:
    our_clock.ensure_right()
    limits = limits_unless_halted(account_id, requested)
    # Only once the limits are locked, since orders are counted by the time at which they are accepted.
    now = timezone.now()
    expired = [index for index, request in enumerate(requested) if request.expires_at and request.expires_at <= now]
    if expired:
        raise AlreadyExpired(expired)
    if limits is not None and is_too_fast(limits, len(requested), now):
        assert limits.orders_per_second is not None
        raise TooManyOrders(limits.orders_per_second, never_fits=len(requested) > limits.orders_per_second)
    refused = {} if limits is None else refusals(limits, requested)
    if refused and not keep_refused:
        raise RefusedByLimits(refused)
    policy = PlacementPolicy.from_settings()
    orders = [new_order(account_id, request, now, policy) for request in requested]
    events = []
    for index, order in enumerate(orders):
        if index in refused:
            events += lifecycle.refused_by_limits(order, refused[index], now)
        else:
            events.append(new_event(order, now, AcceptedData()))
    # Two transactions that insert the same client order ids in different orders would deadlock.
    Order.objects.bulk_create(sorted(orders, key=attrgetter("client_order_id")))
    save_changes([], events)
    # The insert may have waited for another one of the same client order ids, perhaps until after a halt began.
    safety_unless_halted(account_id, requested)
    if to_be_placed := [order.id for index, order in enumerate(orders) if index not in refused]:
        carrier().wake_workers(to_be_placed)
    return orders


def limits_unless_halted(account_id: int, requested: Sequence[NewOrder]) -> AccountLimits | None:
    """The account's limits, locked when orders have to be counted. Raises TradingHalted."""
    safety = safety_unless_halted(account_id, requested)
    if safety.limits is None or not safety.limits.counts_orders:
        return safety.limits
    limits = lock_limits(account_id)
    # The lock may have been waited for, perhaps until after a halt began.
    safety_unless_halted(account_id, requested)
    return limits


def safety_unless_halted(account_id: int, requested: Sequence[NewOrder]) -> Safety:
    """Raises TradingHalted."""
    safety = safety_of(account_id, (request.instrument for request in requested))
    of_instruments = {halt.instrument: halt for halt in safety.halts if halt.instrument is not None}
    of_everything = [halt for halt in safety.halts if halt.instrument is None]
    by_index = {i: of_instruments[new.instrument] for i, new in enumerate(requested) if new.instrument in of_instruments}
    if of_everything or by_index:
        raise TradingHalted(of_everything, {} if of_everything else by_index)
    return safety


def new_order(account_id: int, request: NewOrder, now: datetime, policy: PlacementPolicy) -> Order:
    order_id = uuid7()
    return Order(
        id=order_id,
        account_id=account_id,
        client_order_id=request.client_order_id or str(order_id),
        created_at=now,
        updated_at=now,
        type=request.type,
        side=request.side,
        instrument=request.instrument,
        limit_price=request.limit_price,
        quantity=request.quantity,
        expires_at=request.expires_at,
        next_attempt_at=now,
        give_up_at=policy.give_up_at(now, request.expires_at),
    )


def any_known(account_id: int, requested: Sequence[NewOrder]) -> bool:
    ids = [request.client_order_id for request in requested if request.client_order_id]
    return Order.objects.filter(account_id=account_id, client_order_id__in=ids).exists()


def known_orders(account_id: int, requested: Sequence[NewOrder]) -> list[Order]:
    """The stored orders with the requested ids, in the same order. Raises ClientOrderIdConflict."""
    ids = [request.client_order_id for request in requested if request.client_order_id]
    stored = {order.client_order_id: order for order in Order.objects.filter(account_id=account_id, client_order_id__in=ids)}
    problems = {}
    for index, request in enumerate(requested):
        order = stored.get(request.client_order_id or "")
        if order is not None and not has_same_terms(order, request):
            problems[index] = f"An order with client_order_id {request.client_order_id!r} exists with other terms."
    if problems:
        raise ClientOrderIdConflict(problems)
    if len(stored) < len(requested):
        raise ClientOrderIdConflict(
            {
                index: f"An order with client_order_id {request.client_order_id!r} exists, but others of the batch do not."
                for index, request in enumerate(requested)
                if request.client_order_id in stored
            }
        )
    return [stored[request.client_order_id or ""] for request in requested]


def has_same_terms(order: Order, request: NewOrder) -> bool:
    terms: tuple[Any, ...] = (order.type, order.side, order.instrument, order.limit_price, order.quantity, order.expires_at)
    return terms == (
        request.type,
        request.side,
        request.instrument,
        request.limit_price,
        request.quantity,
        request.expires_at,
    )
