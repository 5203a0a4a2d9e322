"""Comparing what is stored here with what the exchange has, order by order, for a person to see and to have it mended."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from exchange.feed import ExecutionFeed
from exchange.gateway import Found, Gateway
from orders.database_thread import DatabaseThread
from orders.executions import NOT_OURS
from orders.feeds import active_feed, load_position, register_session
from orders.models import Order, SetAsideReport
from orders.order_ids import first_id_at
from orders.reconciling import Reconciler, apply_found, fills_after, lock_looked_up, open_orders, page_of, reconcile, view
from orders.states import Status

MAX_REPORTS = 10_000
FAILED_LATELY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Difference:
    """One order that is not here as it is at the exchange; `can_be_mended` by taking over the exchange's view."""

    order_id: uuid.UUID
    here: str
    there: str
    can_be_mended: bool


@dataclass
class Comparison:
    """What was found: differences, and orders that the exchange reports about and that are not ours, by their id there."""

    looked_up: int = 0
    differences: list[Difference] = field(default_factory=list)
    not_ours: dict[str, str] = field(default_factory=dict)


async def compare_open_orders(gateway: Gateway, *, apply: bool) -> Comparison:
    """Look up every open order, and those that failed lately; with `apply` take over what the exchange says.

    It does no harm while everything runs.

    Raises FeedDisconnected when the exchange does not answer, OperationalError and InterfaceError from the database.
    """
    database = DatabaseThread("compare")
    comparison = Comparison()
    try:
        session_id = await current_session(database)
        reconciler = Reconciler(gateway, database)
        for concerned in (open_orders(), failed_lately()):
            after = uuid.UUID(int=0)
            while orders := await database.run(partial(page_of, concerned, after)):
                found = await reconciler.look_up_all(orders, session_id)
                comparison.looked_up += len(orders)
                comparison.differences += [missing(order) for order in orders if is_missing(order, found)]
                comparison.differences += await database.run(partial(differences, found))
                if apply:
                    await database.run(partial(apply_found, found))
                after = orders[-1].id
        comparison.not_ours = await database.run(orders_not_ours)
    finally:
        await database.close()
    return comparison


def failed_lately() -> QuerySet[Order]:
    """They are not at the exchange, unless somebody retried one after the backup that this database was restored from."""
    return Order.objects.filter(status=Status.FAILED, id__gt=first_id_at(timezone.now() - FAILED_LATELY))


async def current_session(database: DatabaseThread) -> str:
    """The exchange's session, which numbers what look-ups answer. Raises FeedDisconnected."""
    position = await database.run(partial(load_position, active_feed()))
    async with ExecutionFeed(settings.EXCHANGE_URL, after=position.sequence, session_id=position.session_id or None) as feed:
        session_id = feed.session.session_id
    await database.run(partial(register_session, session_id))
    return session_id


def is_missing(order: Order, found: Mapping[uuid.UUID, Found]) -> bool:
    """Of an order that is not completed, workers find out themselves whether the exchange has it."""
    return order.status == Status.COMPLETED and order.id not in found


def missing(order: Order) -> Difference:
    return Difference(order.id, in_words(order), "not there, or with other terms", can_be_mended=False)


def differences(found: Mapping[uuid.UUID, Found]) -> list[Difference]:
    """How these orders would change; nothing is stored."""
    different = []
    with transaction.atomic():
        orders = lock_looked_up(found)
        later = fills_after(found)
        for id, order in orders.items():
            before = in_words(order)
            reconcile(order, found[id], later[id])
            if order.exchange_order_id != found[id].exchange_order_id:
                different.append(Difference(id, before, f"another order, {found[id].exchange_order_id}", can_be_mended=False))
            elif before != (after := in_words(order)):
                different.append(Difference(id, before, after, can_be_mended=True))
    return different


def in_words(order: Order) -> str:
    state: dict[str, Any] = {"status": str(order.status)} | view(order)
    words = [state["status"], state["execution_status"], f"{state['filled_quantity']} of {order.quantity}"]
    if state["average_price"] is not None:
        words.append(f"at {state['average_price']}")
    return " ".join(str(word) for word in words if word is not None)


def orders_not_ours() -> dict[str, str]:
    """What the newest reports that were set aside say of orders that are not in our database, by `client_order_id`."""
    reports = SetAsideReport.objects.filter(applied_at__isnull=True, reason=NOT_OURS).order_by("-id")[:MAX_REPORTS]
    known: dict[str, str] = {}
    for raw in reports.values_list("raw", flat=True):
        report = orjson.loads(raw)
        words = f"{report['type']}, {report['filled_quantity']} filled, account {report['account']}"
        known.setdefault(report["client_order_id"], f"{report['exchange_order_id']}: {words}")
    return known
