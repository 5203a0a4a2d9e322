"""How the simulated exchange contradicts itself: false fields of a report or of a look-up's answer.

Each lie contradicts itself, or what was reported of the same order before. None of them changes the book.
"""

import zlib
from random import Random
from typing import Any

from exchange.reports import FILLS, ReportType
from exchange.simulator.book import BookOrder
from exchange.simulator.placements import price_text

Fields = dict[str, Any]


def lying_report(order: BookOrder, told: ReportType, quantity: int | None, cents: int | None, dice: Random) -> Fields:
    """The fields of a false report. `told` is the type of the true report before it, `quantity` and `cents` are its fill."""
    terms, totals = order.terms, order.filled_quantity
    price = price_text(cents or terms.limit_cents or 1_000)
    truth: Fields = {"type": told.value, "last_quantity": quantity, "last_price": None if cents is None else price}
    average = {"average_price": order.average_price() or price}

    def fill(kind: ReportType, last_quantity: int, filled_quantity: int) -> Fields:
        return {
            "type": kind.value,
            "last_quantity": last_quantity,
            "last_price": price,
            "filled_quantity": filled_quantity,
            **average,
        }

    one_more = fill(ReportType.PARTIALLY_FILLED, 1, totals + 1)
    lies = [
        truth | {"account": "somebody else"},
        truth | {"exchange_order_id": order.exchange_order_id + "-other"},
        # More in total than was ordered.
        fill(ReportType.PARTIALLY_FILLED, 1, terms.quantity + 1),
        one_more | {"last_price": "0"},
        one_more | {"last_quantity": "1"},
    ]
    if terms.quantity > 1:
        lies.append(fill(ReportType.FILLED, 1, terms.quantity - 1))
    if told in FILLS:
        # The same fill under a second execution id.
        lies.append(truth)
        if totals > 1:
            corrected = dice.randint(1, totals - 1)
            lies.append(fill(ReportType.PARTIALLY_FILLED, corrected, corrected))
    return dice.choice(lies)


def lying_answer(order: BookOrder, draw: float) -> Fields:
    """The false fields of a look-up's answer; `draw`, from 0 to 1, chooses them."""
    quantity = order.terms.quantity
    lies: list[Fields] = [
        {"filled_quantity": quantity + 1, "average_price": order.average_price() or "10.00"},
        {"status": "confused"},
        {"filled_quantity": str(order.filled_quantity)},
    ]
    if order.filled_quantity:
        lies += [{"average_price": "0"}, {"quantity": 2 * quantity}]
    return lies[int(draw * len(lies))]


def draw_for(seed: int, client_order_id: str, what: str) -> float:
    """A number from 0 to below 1 that is always the same for an order and a question `what`."""
    # As in prices.py: crc32 alone changes too little between similar texts.
    return (zlib.crc32(f"{seed}:{what}:{client_order_id}".encode()) * 2_654_435_761 & 0xFFFFFFFF) / 2**32
