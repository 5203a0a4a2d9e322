"""What the tests do to orders, and so make the service tell."""

import json
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone
from knox.models import AuthToken

from orders import lifecycle
from orders.events.notify import ORDER_EVENTS, notifier
from orders.models import Order, OrderEvent
from orders.order_entry.service import NewOrder, accept_orders
from orders.storage import save_changes


def token_of(user: User) -> str:
    _stored, token = AuthToken.objects.create(user)
    return str(token)


def accept(user: User, count: int = 1, **terms: Any) -> list[Order]:
    """Market orders of `user`, all in one transaction, with any of their terms changed."""
    terms = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100, **terms}
    return accept_orders(user.pk, [NewOrder(**terms) for _ in range(count)]).orders


def event_types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def change(order: Order, apply: Callable[..., list[OrderEvent]], *values: Any) -> None:
    """Do to the stored order what `apply`, a function of the life cycle, does, and store its events."""
    with transaction.atomic():
        stored = Order.objects.select_for_update().get(pk=order.pk)
        save_changes([stored], apply(stored, *values))


def place(order: Order) -> None:
    change(order, lifecycle.acknowledged, "X-1", timezone.now())


def many_events(user: User, count: int, padding: int = 0, first: int = 1) -> None:
    """Events `bulk-1` (or of another `first` number) and so on of a new order, in one transaction."""
    [order] = accept(user)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders_orderevent (event_id, order_id, account_id, type, data, occurred_at, recorded_at)"
            " SELECT 'bulk-' || number, %s, %s, 'retrying', %s, now(), now() FROM generate_series(%s, %s) AS number",
            [order.id, user.pk, json.dumps({"reason": "x" * padding}), first, first + count - 1],
        )
    notifier.notify(ORDER_EVENTS)
