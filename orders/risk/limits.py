"""The limits of accounts, and the checks of orders against them before they are accepted or retried."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from django.contrib.auth.models import User

from infrastructure.database.base import in_transaction
from orders.exact_decimals import EXACT, plain_text
from orders.models import AccountLimits, LastPrice, Order, SafetyEvent
from orders.order_ids import first_id_at
from orders.states import Limit, Refusal, SafetyEventType

RATE_WINDOW = timedelta(seconds=1)
LIMIT_NAMES = ("max_quantity", "max_notional", "price_collar_percent", "orders_per_second", "open_orders")
# The field that each refusal is about. Limits not listed here are about the account and not about the order.
FIELDS = {Limit.QUANTITY: "quantity", Limit.NOTIONAL: "limit_price", Limit.PRICE_COLLAR: "limit_price"}


class Terms(Protocol):
    """The terms of an order that limits restrict; `limit_price` is None for a market order."""

    @property
    def instrument(self) -> str: ...
    @property
    def quantity(self) -> int: ...
    @property
    def limit_price(self) -> Decimal | None: ...


def refusal(terms: Terms, limits: AccountLimits, last_price: Decimal | None, open_orders: int) -> Refusal | None:
    """The first limit that the order would break, or None. A value equal to the limit is allowed.

    Pure. `last_price` is the price of the instrument's last execution, None if there was none. `open_orders` is the
    number of the account's other open orders.
    """
    if limits.max_quantity is not None and terms.quantity > limits.max_quantity:
        return Refusal(Limit.QUANTITY, f"At most {limits.max_quantity} in one order.")
    if terms.limit_price is not None:
        notional = EXACT.multiply(Decimal(terms.quantity), terms.limit_price)
        if limits.max_notional is not None and notional > limits.max_notional:
            message = f"Quantity times limit price is {notional}; at most {limits.max_notional} in one order."
            return Refusal(Limit.NOTIONAL, message)
        if limits.price_collar_percent is not None and last_price is not None:
            distance = EXACT.multiply(last_price, EXACT.divide(limits.price_collar_percent, Decimal(100)))
            if EXACT.subtract(terms.limit_price, last_price).copy_abs() > distance:
                percent, last = plain_text(limits.price_collar_percent), plain_text(last_price)
                return Refusal(Limit.PRICE_COLLAR, f"At most {percent}% away from the last execution, which was at {last}.")
    if limits.open_orders is not None and open_orders >= limits.open_orders:
        return Refusal(Limit.OPEN_ORDERS, f"Too many open orders: at most {limits.open_orders} at the same time.")
    return None


def refusals(limits: AccountLimits, orders: Sequence[Terms], *, are_open: bool = False) -> dict[int, Refusal]:
    """Refusals by index. An order that passes counts as open for those after it. With `are_open` all are counted already.

    If there is a limit of open orders, the caller holds the lock of `lock_limits`.
    """
    instruments = {order.instrument for order in orders if order.limit_price is not None}
    last = LastPrice.objects.in_bulk(instruments) if limits.price_collar_percent is not None and instruments else {}
    counts = limits.open_orders is not None and not are_open
    open_orders = count_open_orders(limits) if counts else 0
    found = {}
    for index, order in enumerate(orders):
        known = last.get(order.instrument)
        reason = refusal(order, limits, None if known is None else known.price, open_orders)
        if reason is not None:
            found[index] = reason
        elif counts:
            open_orders += 1
    return found


def lock_limits(account_id: int) -> AccountLimits | None:
    """The current limits, locked: until the caller's transaction ends no other one counts this account's orders.

    Without the lock two transactions that count at the same time would both find room for one more order.
    """
    return AccountLimits.objects.select_for_update().filter(account_id=account_id).first()


def count_open_orders(limits: AccountLimits) -> int:
    """How many orders of the account are open; stops counting at the limit."""
    return Order.objects.open().filter(account_id=limits.account_id)[: limits.open_orders].count()


def is_too_fast(limits: AccountLimits, count: int, now: datetime) -> bool:
    """Whether `count` more orders would be too many within one second. Orders refused by limits count, too.

    Recent orders are found by id, which contains the time of creation: they are at the end of the account's index.
    """
    if limits.orders_per_second is None:
        return False
    recent = Order.objects.filter(account_id=limits.account_id, id__gte=first_id_at(now - RATE_WINDOW))
    return bool(recent[: limits.orders_per_second].count() + count > limits.orders_per_second)


@in_transaction
def change_limits(account: User, by: str, reason: str, **changes: int | Decimal | None) -> AccountLimits:
    """Set the named limits, leave the others, and record an event with the limits before and after.

    Raises IntegrityError for values that the database refuses, such as a limit of 0.
    """
    limits = lock_limits(account.pk) or AccountLimits(account=account)
    before = {name: getattr(limits, name) for name in LIMIT_NAMES}
    after = before | changes
    for name, value in after.items():
        setattr(limits, name, value)
    limits.save()
    SafetyEvent.objects.create(
        type=SafetyEventType.LIMITS_CHANGED,
        account=account,
        by=by,
        reason=reason,
        data={"before": before, "after": after},
    )
    return limits
