"""The order desk's pages: everything can be seen, nothing edited; what is done goes the same way as everywhere else."""

import json
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
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

from orders.canceling import Canceled, cancel_orders, reason_not_to_cancel
from orders.models import Order, SetAsideReport
from orders.retrying import RETRYABLE, Retried, reason_not_to_retry, retry_orders
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
class OrderAdmin(admin.ModelAdmin):
    list_display = ["created", "status_badge", "__str__", "account", "execution", "attempt_count", "problem"]
    list_display_links = ["created"]
    list_filter = [NeedsPersonFilter, "status", "error_code", "execution_status", "type", "side", "created_at"]
    list_select_related = ["account"]
    list_per_page = 50
    # Counting every order ever taken would make the page slower with each of them.
    show_full_result_count = False
    search_fields = ["client_order_id", "instrument", "exchange_order_id", "account__username"]
    search_help_text = "Id, client order id, exchange order id, instrument or account, each in full"
    actions = ["retry_selected", "cancel_selected"]
    fieldsets = [
        (None, {"fields": ["account", "id", "client_order_id", "created_at", "type", "side", "instrument", "limit_price"]}),
        (None, {"fields": ["quantity", "expires_at"]}),
        ("Placement", {"fields": ["status", "error_code", "error_message", "attempt_count", "next_attempt_at", "give_up_at"]}),
        ("At the exchange", {"fields": ["exchange_order_id", "placed_at", "may_be_at_exchange", "cancel_requested_at"]}),
        ("Execution", {"fields": ["execution_status", "filled_quantity", "filled_value", "average_price"]}),
        (
            "Bookkeeping",
            {
                "classes": ["collapse"],
                "fields": ["claimed_until", "sent_valid_until", "reconciled_session", "reconciled_sequence", "updated_at"],
            },
        ),
    ]
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

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.cancel_order")

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

    @admin.display(description="execution", ordering="execution_status")
    def execution(self, order: Order) -> str:
        if order.execution_status is None:
            return ""
        average = f" at {order.average_price.normalize():f}" if order.average_price else ""
        return f"{order.execution_status}: {order.filled_quantity} of {order.quantity}{average}"

    @admin.display(description="last problem")
    def problem(self, order: Order) -> str:
        return order.error_message or ""

    @admin.action(description="Retry the selected orders", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
        return self.confirm_and_do(request, queryset, "retry_selected", "Retry", what_retry_does, retry_orders)

    @admin.action(description="Cancel the selected orders", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
        return self.confirm_and_do(request, queryset, "cancel_selected", "Cancel", what_cancel_does, cancel_orders)

    def confirm_and_do(
        self,
        request: HttpRequest,
        queryset: QuerySet[Order],
        action: str,
        verb: str,
        what_it_does: Callable[[Order], "Consequence"],
        do: Callable[[Sequence[uuid.UUID], str], object],
    ) -> HttpResponse | None:
        """Show first what will happen to each order, and do it when the person has said yes."""
        ids = list(queryset.order_by("id").values_list("id", flat=True)[: MAX_BULK + 1])
        if len(ids) > MAX_BULK:
            self.message_user(request, f"At most {MAX_BULK} orders at a time.", messages.ERROR)
            return None
        if request.POST.get("confirmed"):
            done = do(ids, request.user.get_username())
            self.message_user(request, f"Of {len(ids)} order(s): {done}.", messages.SUCCESS)
            return None
        rows = [(order, what_it_does(order)) for order in Order.objects.filter(id__in=ids).order_by("id")]
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb} these orders?",
            "opts": self.opts,
            "rows": rows,
            "anything_to_do": any(not what.is_nothing for _, what in rows),
            "ids": ids,
            "action": action,
            "verb": verb,
        }
        return TemplateResponse(request, "admin/orders/order/confirm.html", context)

    def get_urls(self) -> list[URLPattern]:
        retry = self.admin_site.admin_view(require_POST(self.retry_one))
        cancel = self.admin_site.admin_view(require_POST(self.cancel_one))
        return [
            path("<uuid:order_id>/retry/", retry, name="orders_order_retry"),
            path("<uuid:order_id>/cancel/", cancel, name="orders_order_cancel"),
            *super().get_urls(),
        ]

    def retry_one(self, request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
        if not self.has_retry_permission(request):
            raise PermissionDenied
        return self.report_and_return(request, order_id, retry_orders([order_id], request.user.get_username()))

    def cancel_one(self, request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
        if not self.has_cancel_permission(request):
            raise PermissionDenied
        return self.report_and_return(request, order_id, cancel_orders([order_id], request.user.get_username()))

    def report_and_return(self, request: HttpRequest, order_id: uuid.UUID, done: Retried | Canceled) -> HttpResponse:
        self.message_user(request, f"This order: {done}.", messages.WARNING if done.passed_over else messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:orders_order_change", args=[order_id]))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        needing = Order.objects.filter(status__in=RETRYABLE)
        pending = Order.objects.filter(status=Status.PENDING).aggregate(oldest=Min("created_at"))["oldest"]
        context = {
            "needs_person": needing.select_related("account").order_by("-id")[:NEEDS_PERSON_SHOWN],
            # Bounded: a desk that sees "100+" does not need the exact number.
            "needs_person_count": needing[:101].count(),
            "set_aside_count": SetAsideReport.objects.filter(applied_at__isnull=True)[:101].count(),
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
                "retry": self.has_retry_permission(request) and what_retry_does(order),
                "cancel": self.has_cancel_permission(request) and what_cancel_does(order),
            }
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))


@admin.register(SetAsideReport)
class SetAsideReportAdmin(admin.ModelAdmin):
    """Reports of the exchange that could not be applied; `manage.py replay_reports` tries them again."""

    list_display = ["received_at", "reason", "session_id", "sequence", "applied_at"]
    list_filter = [("applied_at", admin.EmptyFieldListFilter)]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SetAsideReport | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SetAsideReport | None = None) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Consequence:
    """What an action will do to one order, in words, or why it will do nothing."""

    text: str
    is_nothing: bool = False


def what_retry_does(order: Order) -> Consequence:
    if reason := reason_not_to_retry(order):
        return Consequence(f"nothing: it {reason}", is_nothing=True)
    return Consequence("looked up at the exchange first" if order.may_be_at_exchange else "sent again")


def what_cancel_does(order: Order) -> Consequence:
    if reason := reason_not_to_cancel(order):
        return Consequence(f"nothing: it {reason}", is_nothing=True)
    if order.status == Status.COMPLETED:
        return Consequence("canceled at the exchange")
    if order.may_be_at_exchange:
        return Consequence("looked up, and canceled at the exchange if it is there")
    return Consequence("canceled at once")


def timeline_row(happened: Any) -> dict[str, Any]:
    """An event for the timeline: what and when, how long its exchange call took, who asked, and the rest as text."""
    data = dict(happened.data)
    took_ms = data.pop("took_ms", None)
    by = data.pop("by", "")
    rest = ", ".join(f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in data.items())
    return {"event": happened, "took_ms": took_ms, "by": by, "rest": rest}
