"""Compare our orders with the exchange's, one by one, so that an operator can see the differences and have them mended."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from exchange.gateway import Contradiction, Gateway, NotFound, TermsConflict, Unavailable, Unknown
from infrastructure.database_thread import DatabaseThread
from orders.dead_letters import NOT_OURS
from orders.executions.feed_positions import FIRST_ID, open_at_exchange
from orders.executions.fills import Fill
from orders.executions.gap_look_ups import ask, page_of, refuse_silence
from orders.executions.gap_recovery import Answer, apply_answer, apply_answers, view
from orders.executions.reports import read_fills
from orders.models import DeadLetter, Order
from orders.order_ids import first_id_at
from orders.states import Status
from orders.storage import lock_orders

MAX_REPORTS = 10_000
FAILED_LATELY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Difference:
    """One order that differs from the exchange's view of it; `can_be_mended` if adopting that view resolves the difference."""

    order_id: uuid.UUID
    here: str
    there: str
    can_be_mended: bool


@dataclass
class Comparison:
    """The result: differences, and orders in the exchange's reports that are not in our database, by `client_order_id`."""

    looked_up: int = 0
    differences: list[Difference] = field(default_factory=list)
    not_ours: dict[str, str] = field(default_factory=dict)


async def compare_open_orders(gateway: Gateway, *, apply: bool) -> Comparison:
    """Look up every open order and every recently failed one. With `apply`, adopt the exchange's view.

    Safe while everything runs.

    Raises ExchangeUnavailable when the exchange does not answer, DatabaseUnavailable from the database.
    """
    database = DatabaseThread("compare")
    comparison = Comparison()
    try:
        for concerned in (open_at_exchange(), failed_lately()):
            after = FIRST_ID
            while orders := await database.run(partial(page_of, concerned, after)):
                answers = await ask(gateway, orders)
                refuse_silence(answers)
                comparison.looked_up += len(orders)
                comparison.differences += await database.run(partial(differences, answers))
                if apply:
                    await database.run(partial(apply_answers, answers))
                after = orders[-1].id
        comparison.not_ours = await database.run(orders_not_ours)
    finally:
        await database.close()
    return comparison


def failed_lately() -> QuerySet[Order]:
    """Orders that failed recently. If this database was restored, one may have been retried after the backup and be there."""
    return Order.objects.filter(status=Status.FAILED, id__gt=first_id_at(timezone.now() - FAILED_LATELY))


def differences(answers: Mapping[uuid.UUID, Answer]) -> list[Difference]:
    """How these orders would change, and the differences that an operator must resolve. Stores nothing."""
    with transaction.atomic():
        orders = lock_orders(list(answers))
        fills = read_fills(orders)
        found = [difference(order, answers[id], fills[id]) for id, order in orders.items()]
        transaction.set_rollback(True)
    return [one for one in found if one is not None]


def difference(order: Order, answer: Answer, fills: Sequence[Fill]) -> Difference | None:
    here = in_words(order)
    match answer.outcome:
        case Unavailable(reason) | Unknown(reason):
            return Difference(order.id, here, f"no answer: {reason}", can_be_mended=False)
        case Contradiction(reason) | TermsConflict(reason):
            return Difference(order.id, here, reason, can_be_mended=False)
        case NotFound():
            # If the order is not completed, workers find out themselves whether the exchange has it.
            return missing(order) if order.status == Status.COMPLETED else None
    apply_answer(order, answer, fills)
    if order.discrepancy is not None:
        return Difference(order.id, here, order.discrepancy, can_be_mended=False)
    there = in_words(order)
    return None if here == there else Difference(order.id, here, there, can_be_mended=True)


def missing(order: Order) -> Difference:
    return Difference(order.id, in_words(order), "not there", can_be_mended=False)


def in_words(order: Order) -> str:
    state: dict[str, Any] = {"status": str(order.status)} | view(order)
    words = [state["status"], state["execution_status"], f"{state['filled_quantity']} of {order.quantity}"]
    if state["average_price"] is not None:
        words.append(f"at {state['average_price']}")
    return " ".join(str(word) for word in words if word is not None)


def orders_not_ours() -> dict[str, str]:
    """What the latest dead letters say about orders that are not in our database, by `client_order_id`."""
    reports = DeadLetter.objects.filter(applied_at__isnull=True, reason=NOT_OURS).order_by("-id")[:MAX_REPORTS]
    known: dict[str, str] = {}
    for raw in reports.values_list("raw", flat=True):
        report = orjson.loads(raw)
        words = f"{report['type']}, {report['filled_quantity']} filled, account {report['account']}"
        known.setdefault(report["client_order_id"], f"{report['exchange_order_id']}: {words}")
    return known
