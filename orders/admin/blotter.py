"""The blotter: all orders of all accounts as they move, for staff who may see orders.

The page follows the live events. It reads what happened before it was opened once, as the last event of each of the
newest orders: one index range of orders, and one look-up in the history's index for each.
"""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path

from orders.events.address import live_events_url
from orders.events.stream import encoded_events
from orders.models import Order, OrderEvent
from orders.states import ExecutionStatus, Side, Status

# The number of orders that the page shows.
NEWEST = 500
# In the order in which an order passes through them; for `completed` orders the execution status is shown.
STATES = [
    Status.PENDING,
    ExecutionStatus.NEW,
    ExecutionStatus.PARTIALLY_FILLED,
    ExecutionStatus.PENDING_CANCEL,
    ExecutionStatus.FILLED,
    Status.CANCELED,
    ExecutionStatus.EXPIRED,
    ExecutionStatus.REJECTED,
    Status.FAILED,
    Status.ERROR,
]


def page(request: HttpRequest) -> HttpResponse:
    check_permission(request)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Blotter",
        "states": STATES,
        "sides": Side.values,
        "live_events_url": live_events_url(request),
    }
    return TemplateResponse(request, "admin/orders/blotter.html", context)


def latest(request: HttpRequest) -> HttpResponse:
    """The last event of each of the newest orders, oldest event first, as the notification service sends it."""
    check_permission(request)
    last = OrderEvent.objects.filter(order=OuterRef("id")).order_by("-id").values("id")[:1]
    ids = Order.objects.order_by("-id").annotate(last=Subquery(last)).values_list("last", flat=True)[:NEWEST]
    texts = [event.text for event in encoded_events(list(ids))]
    return HttpResponse(f"[{','.join(texts)}]", content_type="application/json")


def check_permission(request: HttpRequest) -> None:
    if not request.user.has_perm("orders.view_order"):
        raise PermissionDenied


# Below /admin/; `admin_view` admits only staff, and asks others to sign in.
urlpatterns = [
    path("blotter/", admin.site.admin_view(page), name="blotter"),
    path("blotter/latest", admin.site.admin_view(latest), name="blotter_latest"),
]
