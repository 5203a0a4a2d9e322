"""An order as a row of the page; `static/trading/rows.js` writes the same words when the order changes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orders.models import Order
from orders.placement.cancel import reason_not_to_cancel
from orders.states import Status


@dataclass(frozen=True, slots=True)
class Row:
    """One order; `tone` sets the colour of its state: waiting, working, done, stopped or trouble."""

    order: Order
    terms: str
    state: str
    tone: str
    filled: str
    can_cancel: bool


TONES = {
    "pending": "waiting",
    "filled": "done",
    "canceled": "stopped",
    "expired": "stopped",
    "failed": "trouble",
    "error": "trouble",
    "rejected": "trouble",
}


def rows(orders: Iterable[Order]) -> list[Row]:
    return [row(order) for order in orders]


def row(order: Order) -> Row:
    state = order.execution_status or order.status
    is_over = reason_not_to_cancel(order) is not None
    is_canceling = order.cancel_requested_at is not None and not is_over
    at = "" if order.limit_price is None else f" at {order.limit_price}"
    return Row(
        order=order,
        terms=f"{order.side.capitalize()} {order.quantity} {order.instrument}{at}",
        state="cancel requested" if is_canceling else state.replace("_", " "),
        tone=TONES.get(state, "working"),
        filled=filled(order) if order.status == Status.COMPLETED else "",
        can_cancel=not is_over and not is_canceling,
    )


def filled(order: Order) -> str:
    text = f"{order.filled_quantity} of {order.quantity}"
    if order.average_price is None:
        return text
    # At least two decimals, as in a price, and no zeros after those.
    price = re.sub(r"(\.\d\d\d*?)0+$", r"\1", str(order.average_price))
    return f"{text} at {price}"
