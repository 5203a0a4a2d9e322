"""Halts of trading, limits of accounts, and the record of changes to both."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextInputWidget

from orders.admin.allowed_filters import KnownLookups, one_of
from orders.admin.read_only import ReadOnlyAdmin
from orders.capped_count import capped_count
from orders.instruments import canonical_instrument
from orders.models import AccountLimits, Halt, Order, SafetyEvent
from orders.risk.halts import halts_in_force, how_far
from orders.risk.limits import LIMIT_NAMES, change_limits
from orders.risk.switches import AlreadyHalted, NotHalted, confirm_halts, halt_trading, resume_trading
from orders.states import SafetyEventType


def text(**options: Any) -> forms.CharField:
    return forms.CharField(widget=UnfoldAdminTextInputWidget, **options)


class ResumeForm(forms.Form):
    reason = text(max_length=1000, help_text="Recorded with your name.")


class HaltForm(ResumeForm):
    """The scope must be chosen each time, so that an empty field never halts all trading."""

    scope = forms.ChoiceField(
        choices=[("all", "All trading"), ("account", "One account"), ("instrument", "One instrument, for all accounts")],
        widget=UnfoldAdminRadioSelectWidget,
    )
    name = text(required=False, help_text="The account's user name, or the instrument.")
    field_order = ["scope", "name", "reason"]

    def clean(self) -> dict[str, Any]:
        """The arguments of `halt_trading`."""
        scope, name = self.cleaned_data.get("scope"), self.cleaned_data.get("name", "")
        halted: dict[str, Any] = {"account": None, "instrument": None}
        if scope == "account":
            halted["account"] = User.objects.filter(username=name).first()
            if halted["account"] is None:
                self.add_error("name", "There is no such account.")
        elif scope == "instrument":
            try:
                halted["instrument"] = canonical_instrument(name)
            except ValueError:
                self.add_error("name", "Exactly 12 characters: letters, digits and . _ -")
        elif name:
            self.add_error("name", "A halt of all trading takes no name; choose what to halt.")
        return {"reason": self.cleaned_data.get("reason")} | halted


def held_by(halt: Halt) -> QuerySet[Order]:
    """The held orders in the halt's scope, by the index `order_held`."""
    return Order.objects.covered_by(halt).filter(held_at__isnull=False)


class HaltAdmin(ReadOnlyAdmin):
    """All halts, past and present. Halting and resuming need different permissions, since resuming releases orders."""

    list_display = ["scope", "state", "started", "started_by", "reason", "confirmed", "ended", "ended_by", "end_reason"]
    list_display_links = None
    list_select_related = ["account"]
    change_list_template = "admin/orders/halt/change_list.html"

    @display(description="scope")
    def scope(self, halt: Halt) -> str:
        return str(halt)

    @display(description="started (UTC)")
    def started(self, halt: Halt) -> str:
        return f"{halt.started_at:%Y-%m-%d %H:%M:%S}"

    @display(description="ended (UTC)")
    def ended(self, halt: Halt) -> str | None:
        return None if halt.ended_at is None else f"{halt.ended_at:%Y-%m-%d %H:%M:%S}"

    @display(description="state")
    def state(self, halt: Halt) -> str:
        if halt.ended_at is None:
            return f"in force, {how_far(halt)}"
        return "over" if halt.released_at else "over, orders are being released"

    @display(description="confirmed (UTC)")
    def confirmed(self, halt: Halt) -> str | None:
        return None if halt.confirmed_at is None else f"{halt.confirmed_at:%Y-%m-%d %H:%M:%S}"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"halts": halts_in_force()} | (extra_context or {}))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("halt/", view(self.halt), name="orders_halt_halt"),
            path("<int:halt_id>/resume/", view(self.resume), name="orders_halt_resume"),
            *super().get_urls(),
        ]

    def halt(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm("orders.halt_trading"):
            raise PermissionDenied
        form = HaltForm(request.POST or None)
        if form.is_valid():
            try:
                halt = halt_trading(request.user.get_username(), **form.cleaned_data)
            except AlreadyHalted as problem:
                form.add_error(None, str(problem))
            else:
                # Confirms at once if nothing is under way; otherwise the sweep does it.
                confirm_halts()
                halt.refresh_from_db()
                return self.report_and_return(request, f"{halt} is halted: {how_far(halt)}.")
        return self.ask(request, "Halt trading?", "Halt", form)

    def resume(self, request: HttpRequest, halt_id: int) -> HttpResponse:
        if not request.user.has_perm("orders.resume_trading"):
            raise PermissionDenied
        halt = get_object_or_404(Halt.objects.select_related("account"), pk=halt_id)
        form = ResumeForm(request.POST or None)
        if form.is_valid():
            try:
                by, reason = request.user.get_username(), form.cleaned_data["reason"]
                resume_trading(by, reason, account=halt.account, instrument=halt.instrument)
            except NotHalted as problem:
                form.add_error(None, str(problem))
            else:
                return self.report_and_return(request, f"{halt} is resumed.")
        held = capped_count(held_by(halt))
        return self.ask(request, f"Resume? {halt} is halted.", "Resume", form, halt=halt, held=held)

    def ask(self, request: HttpRequest, title: str, verb: str, form: forms.Form, **more: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "title": title, "verb": verb, "form": form, "opts": self.opts}
        return TemplateResponse(request, "admin/orders/halt/switch.html", context | more)

    def report_and_return(self, request: HttpRequest, message: str) -> HttpResponse:
        self.message_user(request, message, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:orders_halt_changelist"))


class LimitsForm(forms.ModelForm):
    reason = text(max_length=1000, help_text="Why they are changed. Recorded with your name.")

    class Meta:
        model = AccountLimits
        fields = ["account", *LIMIT_NAMES]


class AccountLimitsAdmin(KnownLookups, ModelAdmin):
    """The permission to change limits includes adding them. Limits are emptied, never deleted, so that they stay on record."""

    form = LimitsForm
    fields = ["account", *LIMIT_NAMES, "reason"]
    list_display = ["account", *LIMIT_NAMES]
    list_select_related = ["account"]
    search_fields = ["account__username"]
    autocomplete_fields = ["account"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: AccountLimits | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: AccountLimits | None = None) -> list[str]:
        return [] if obj is None else ["account"]

    def save_model(self, request: HttpRequest, obj: AccountLimits, form: forms.ModelForm, change: bool) -> None:
        limits = {name: form.cleaned_data[name] for name in LIMIT_NAMES}
        change_limits(obj.account, request.user.get_username(), form.cleaned_data["reason"], **limits)


class SafetyEventAdmin(ReadOnlyAdmin):
    list_display = ["occurred", "type", "account", "instrument", "by", "reason", "changes"]
    list_display_links = None
    list_filter = ["type"]
    lookups = {"type__exact": one_of(SafetyEventType.values)}
    list_select_related = ["account"]
    search_fields = ["account__username", "instrument", "by"]

    @display(description="when (UTC)")
    def occurred(self, event: SafetyEvent) -> str:
        return f"{event.occurred_at:%Y-%m-%d %H:%M:%S}"

    @display(description="limits")
    def changes(self, event: SafetyEvent) -> str:
        before, after = event.data.get("before", {}), event.data.get("after", {})
        changed = [name for name in LIMIT_NAMES if before.get(name) != after.get(name)]
        return ", ".join(f"{name.replace('_', ' ')}: {before[name] or 'none'} → {after[name] or 'none'}" for name in changed)
