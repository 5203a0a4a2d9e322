"""Retrying and canceling from the back office; for several orders the consequences are shown and must be confirmed."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from orders.models import Order
from orders.placement.cancel import cancel_orders, reason_not_to_cancel
from orders.placement.manual_retry import reasons_not_to_retry, retry_orders
from orders.states import Status

# They are locked together, and Django accepts at most 1,000 form fields (DATA_UPLOAD_MAX_NUMBER_FIELDS).
MAX_BULK = 500


@dataclass(frozen=True, slots=True)
class Consequence:
    """A sentence about what an action will do to one order, or why it will do nothing."""

    text: str
    is_nothing: bool = False


def what_retry_does(orders: Sequence[Order], *, alone: bool = False) -> list[Consequence]:
    reasons = reasons_not_to_retry(orders, alone=alone)
    return [what_one_retry_does(order, reasons.get(order.id)) for order in orders]


def what_one_retry_does(order: Order, reason: str | None) -> Consequence:
    if reason is not None:
        return Consequence(f"nothing: it {reason}", is_nothing=True)
    return Consequence("looked up at the exchange first" if order.may_be_at_exchange else "sent again")


def what_cancels_do(orders: Sequence[Order]) -> list[Consequence]:
    return [what_cancel_does(order) for order in orders]


def what_cancel_does(order: Order) -> Consequence:
    if reason := reason_not_to_cancel(order):
        return Consequence(f"nothing: it {reason}", is_nothing=True)
    if order.status == Status.COMPLETED:
        return Consequence("canceled at the exchange")
    if order.may_be_at_exchange:
        return Consequence("looked up, and canceled at the exchange if it is there")
    return Consequence("canceled at once")


@dataclass(frozen=True, slots=True)
class BulkAction:
    name: str
    verb: str
    what_it_does: Callable[[Sequence[Order]], list[Consequence]]
    do: Callable[[Sequence[uuid.UUID], str], object]


RETRY = BulkAction("retry_selected", "Retry", what_retry_does, retry_orders)
CANCEL = BulkAction("cancel_selected", "Cancel", what_cancels_do, cancel_orders)


def confirm_and_do(
    model_admin: ModelAdmin, request: HttpRequest, queryset: QuerySet[Order], action: BulkAction
) -> HttpResponse | None:
    """Show what will happen to each order, and once confirmed do it to all orders that were shown.

    Some of them may have left the filtered list by then, so the confirmed ids are used instead of `queryset`.
    """
    is_confirmed = "confirmed" in request.POST
    chosen = Order.objects.filter(id__in=request.POST.getlist(ACTION_CHECKBOX_NAME)) if is_confirmed else queryset
    ids = list(chosen.order_by("id").values_list("id", flat=True)[: MAX_BULK + 1])
    if len(ids) > MAX_BULK:
        model_admin.message_user(request, f"At most {MAX_BULK} orders at a time.", messages.ERROR)
        return None
    if is_confirmed:
        done = action.do(ids, request.user.get_username())
        model_admin.message_user(request, f"Of {len(ids)} order(s): {done}.", messages.SUCCESS)
        return None
    orders = list(Order.objects.filter(id__in=ids).order_by("id"))
    rows = list(zip(orders, action.what_it_does(orders), strict=True))
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "title": f"{action.verb} these orders?",
        "opts": model_admin.opts,
        "rows": rows,
        "change_count": sum(not what.is_nothing for _, what in rows),
        "ids": ids,
        "action": action,
    }
    return TemplateResponse(request, "admin/orders/order/confirm.html", context)
