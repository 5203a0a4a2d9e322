"""The order list and the page of one order."""

import uuid
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST
from unfold.decorators import display

from orders.admin import landing
from orders.admin.bulk_actions import CANCEL, RETRY, confirm_and_do, what_cancel_does, what_retry_does
from orders.admin.colours import EXECUTION_BADGES, STATUS_BADGES
from orders.admin.csv_export import export_orders
from orders.admin.end_order import end_order
from orders.admin.order_list import LIST_FILTER, LOOKUPS, search_orders
from orders.admin.order_page import MAX_DEAD_LETTERS, MAX_EVENTS, facts, timeline
from orders.admin.read_only import ReadOnlyAdmin
from orders.events.address import live_events_url
from orders.models import Order
from orders.placement.cancel import Canceled, cancel_orders
from orders.placement.manual_end import can_be_ended
from orders.placement.manual_retry import Retried, retry_orders
from orders.risk.halts import halts_in_force
from orders.templatetags.durations import age


class OrderAdmin(ReadOnlyAdmin):
    list_display = [
        "created",
        "age",
        "status_badge",
        "execution_badge",
        "instrument",
        "side",
        "amount",
        "price",
        "account",
        "attempts",
        "problem",
    ]
    list_display_links = ["created"]
    list_filter = LIST_FILTER
    lookups = LOOKUPS
    list_filter_submit = True
    list_select_related = ["account"]
    list_per_page = 50
    list_fullwidth = True
    # Any other sort order would read the whole table.
    sortable_by = ["created"]
    # Django needs these to show the search field; `search_orders` does the search.
    search_fields = ["id", "client_order_id", "exchange_order_id", "instrument", "account__username"]
    search_help_text = "Complete id, client order id, exchange order id, instrument or account"
    actions = ["retry_selected", "cancel_selected"]
    change_list_template = "admin/orders/order/change_list.html"

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.retry_order")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.cancel_order")

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("orders.export_order")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Order], term: str) -> tuple[QuerySet[Order], bool]:
        return search_orders(queryset, term), False

    @display(description="accepted (UTC)", ordering="id")
    def created(self, order: Order) -> str:
        return f"{order.created_at:%Y-%m-%d %H:%M:%S}"

    @display(description="age")
    def age(self, order: Order) -> str:
        return age(order.created_at)

    @display(description="status", label=STATUS_BADGES)
    def status_badge(self, order: Order) -> str:
        return order.status

    @display(description="execution", label=EXECUTION_BADGES)
    def execution_badge(self, order: Order) -> tuple[str, str] | None:
        if order.execution_status is None:
            return None
        return order.execution_status, order.execution_status.replace("_", " ")

    @display(description="quantity")
    def amount(self, order: Order) -> str:
        return f"{order.filled_quantity} of {order.quantity}" if order.filled_quantity else str(order.quantity)

    @display(description="price")
    def price(self, order: Order) -> str:
        return "market" if order.limit_price is None else str(order.limit_price)

    @display(description="attempts")
    def attempts(self, order: Order) -> int:
        return order.attempt_count

    @display(description="last error", empty_value="")
    def problem(self, order: Order) -> str | None:
        return order.error_message

    @admin.action(description="Retry the selected orders", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
        return confirm_and_do(self, request, queryset, RETRY)

    @admin.action(description="Cancel the selected orders", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
        return confirm_and_do(self, request, queryset, CANCEL)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("overview/", view(require_GET(landing.fragment)), name="orders_order_overview"),
            path("export/", view(require_GET(self.export)), name="orders_order_export"),
            path("<uuid:order_id>/state/", view(require_GET(self.order_state)), name="orders_order_state"),
            path("<uuid:order_id>/retry/", view(require_POST(self.retry_one)), name="orders_order_retry"),
            path("<uuid:order_id>/cancel/", view(require_POST(self.cancel_one)), name="orders_order_cancel"),
            path("<uuid:order_id>/end/", view(partial(end_order, self)), name="orders_order_end"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"may_export": self.has_export_permission(request), "halts": halts_in_force()}
        return super().changelist_view(request, context | (extra_context or {}))

    def export(self, request: HttpRequest) -> StreamingHttpResponse | HttpResponseRedirect:
        """The whole filtered list as CSV, not only the page shown."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        request.GET = filters = request.GET.copy()  # type: ignore[assignment]
        filters.pop(PAGE_VAR, None)
        try:
            changelist = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{reverse('admin:orders_order_changelist')}?{ERROR_FLAG}=1")
        return export_orders(changelist.queryset)

    def retry_one(self, request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
        if not self.has_retry_permission(request):
            raise PermissionDenied
        return self.report_and_return(request, order_id, retry_orders([order_id], request.user.get_username(), alone=True))

    def cancel_one(self, request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
        if not self.has_cancel_permission(request):
            raise PermissionDenied
        return self.report_and_return(request, order_id, cancel_orders([order_id], request.user.get_username()))

    def report_and_return(self, request: HttpRequest, order_id: uuid.UUID, done: Retried | Canceled) -> HttpResponse:
        self.message_user(request, f"This order: {done}.", messages.WARNING if done.passed_over else messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:orders_order_change", args=[order_id]))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a read-only page instead of a form."""
        if request.method not in ("GET", "HEAD") or object_id is None or not self.has_view_permission(request):
            raise PermissionDenied
        order = self.get_object(request, object_id)
        if order is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        context = {
            **self.admin_site.each_context(request),
            **self.page_context(request, order),
            "title": str(order),
            "opts": self.opts,
            "live_events_url": live_events_url(request),
        }
        return TemplateResponse(request, "admin/orders/order/page.html", context)

    def order_state(self, request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
        """The part of the order's page that changes while the page is open."""
        order = self.get_object(request, str(order_id))
        if not self.has_view_permission(request) or order is None:
            raise PermissionDenied
        return TemplateResponse(request, "admin/orders/order/state.html", self.page_context(request, order))

    def page_context(self, request: HttpRequest, order: Order) -> dict[str, Any]:
        rows = timeline(order)
        return {
            "order": order,
            "facts": facts(order),
            "timeline": rows,
            "timeline_is_cut": len(rows) == MAX_EVENTS,
            "retry": self.has_retry_permission(request) and what_retry_does([order], alone=True)[0],
            "cancel": self.has_cancel_permission(request) and what_cancel_does(order),
            "may_end": request.user.has_perm("orders.end_order") and can_be_ended(order),
            "dead_letters": order.dead_letters.order_by("-id")[:MAX_DEAD_LETTERS],
        }
