"""The order desk's pages: everything can be seen, nothing edited; retries go the same way as everywhere else."""

import json
import uuid
from contextlib import suppress
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Min, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.views.decorators.http import require_POST

from orders.models import Order
from orders.retrying import RETRYABLE, reason_not_to_retry, retry_orders
from orders.states import Status

# They are locked together, and Django takes 1,000 fields of a form at most (DATA_UPLOAD_MAX_NUMBER_FIELDS).
MAX_BULK = 500
NEEDS_PERSON_SHOWN = 10


class NeedsPersonFilter(admin.SimpleListFilter):
    title = "needs a person"
    parameter_name = "needs_person"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes: failed or error")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        return queryset.filter(status__in=RETRYABLE) if self.value() == "yes" else queryset


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = [
        "created",
        "side",
        "quantity",
        "instrument",
        "limit_price",
        "type",
        "account",
        "status_badge",
        "execution_status",
        "attempt_count",
        "problem",
    ]
    list_display_links = ["created"]
    list_filter = [NeedsPersonFilter, "status", "error_code", "execution_status", "type", "side", "created_at"]
    list_select_related = ["account"]
    list_per_page = 50
    # Counting every order ever taken would make the page slower with each of them.
    show_full_result_count = False
    search_fields = ["client_order_id", "instrument", "exchange_order_id", "account__username"]
    search_help_text = "Id, client order id, exchange order id, instrument or account, each in full"
    actions = ["retry_selected"]
    change_list_template = "admin/orders/order/change_list.html"
    change_form_template = "admin/orders/order/detail.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.retry_order")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Order], term: str) -> tuple[QuerySet[Order], bool]:
        term = term.strip()
        if not term:
            return queryset, False
        # The term is not split into words, since a client order id may have spaces in it.
        found = Q(*((f"{name}__iexact", term) for name in self.search_fields), _connector=Q.OR)
        with suppress(ValueError):
            found |= Q(id=uuid.UUID(term))
        return queryset.filter(found), False

    @admin.display(description="accepted", ordering="id")
    def created(self, order: Order) -> str:
        return f"{order.created_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="status", ordering="status")
    def status_badge(self, order: Order) -> str:
        return format_html('<span class="status status-{}">{}</span>', order.status, order.status)

    @admin.display(description="last problem")
    def problem(self, order: Order) -> str:
        return order.error_message or ""

    @admin.action(description="Retry the selected orders", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
        ids = list(queryset.order_by("id").values_list("id", flat=True)[: MAX_BULK + 1])
        if len(ids) > MAX_BULK:
            self.message_user(request, f"At most {MAX_BULK} orders at a time.", messages.ERROR)
            return None
        orders = list(Order.objects.filter(id__in=ids).order_by("id"))
        if request.POST.get("confirmed"):
            retried = retry_orders(ids, requested_by=request.user.get_username())
            self.message_user(request, f"Of {len(ids)} order(s): {retried}.", messages.SUCCESS)
            return None
        rows = [(order, reason_not_to_retry(order)) for order in orders]
        context = {
            **self.admin_site.each_context(request),
            "title": "Retry these orders?",
            "opts": self.model._meta,
            "rows": rows,
            "any_retryable": any(reason is None for _, reason in rows),
            "ids": ids,
        }
        return TemplateResponse(request, "admin/orders/order/confirm_retry.html", context)

    def get_urls(self) -> list[URLPattern]:
        retry = self.admin_site.admin_view(require_POST(self.retry_one))
        return [path("<uuid:order_id>/retry/", retry, name="orders_order_retry"), *super().get_urls()]

    def retry_one(self, request: HttpRequest, order_id: Any) -> HttpResponse:
        if not self.has_retry_permission(request):
            raise PermissionDenied
        retried = retry_orders([order_id], requested_by=request.user.get_username())
        level = messages.SUCCESS if retried.sent or retried.looked_up else messages.WARNING
        self.message_user(request, f"This order: {retried}.", level)
        return HttpResponseRedirect(reverse("admin:orders_order_change", args=[order_id]))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        needing = Order.objects.filter(status__in=RETRYABLE)
        pending = Order.objects.filter(status=Status.PENDING).aggregate(oldest=Min("created_at"))["oldest"]
        context = {
            "needs_person": needing.select_related("account").order_by("-id")[:NEEDS_PERSON_SHOWN],
            # Bounded: a desk that sees "100+" does not need the exact number.
            "needs_person_count": needing[:101].count(),
            "oldest_pending": timesince(pending, timezone.now()) if pending else None,
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        order = self.get_object(request, object_id)
        context: dict[str, Any] = {}
        if order is not None:
            context = {
                "order": order,
                "timeline": [timeline_row(happened) for happened in order.events.all()],
                "may_retry": self.has_retry_permission(request) and reason_not_to_retry(order) is None,
                "will_be": "looked up at the exchange first" if order.may_be_at_exchange else "sent again",
            }
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))


def timeline_row(happened: Any) -> dict[str, Any]:
    """An event for the timeline: what and when, how long its exchange call took, who asked, and the rest as text."""
    data = dict(happened.data)
    took_ms = data.pop("took_ms", None)
    by = data.pop("by", "")
    rest = ", ".join(f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in data.items())
    return {"event": happened, "took_ms": took_ms, "by": by, "rest": rest}
