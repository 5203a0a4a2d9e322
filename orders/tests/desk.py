"""What the tests of the order desk share: orders that need an operator, and a look at everything that a request may change."""

from typing import Any

from django.utils import timezone
from django_q.models import OrmQ

from orders import lifecycle
from orders.models import Order
from orders.order_entry.service import NewOrder, accept_orders
from orders.retry_policy import PlacementPolicy
from orders.states import ErrorCode
from orders.storage import save_changes

LIST = "/admin/orders/order/"


def page(order: Order) -> str:
    return f"{LIST}{order.id}/change/"


def refuse(order: Order) -> Order:
    save_changes([order], lifecycle.refused(order, "unknown instrument", timezone.now()))
    return order


def lose(order: Order, policy: PlacementPolicy) -> Order:
    """Sent, never answered, and given up: it may be at the exchange."""
    now = timezone.now()
    lifecycle.begin_attempt(order, now, policy)
    events = lifecycle.unknown(order, "timeout", now, now, policy)
    save_changes([order], events + lifecycle.overdue(order, now))
    return order


def many_failed(account: Any, count: int) -> list[Order]:
    orders = accept_orders(account.pk, [NewOrder("market", "buy", "AAPL_2025_03", 1)] * count).orders
    now = timezone.now()
    save_changes(orders, [event for order in orders for event in lifecycle.failed(order, ErrorCode.INTERNAL_ERROR, "x", now)])
    return orders


def snapshot() -> dict[str, Any]:
    return {"orders": list(Order.objects.order_by("id").values()), "wake_ups": OrmQ.objects.count()}
