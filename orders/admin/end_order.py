"""Ending an order that the exchange no longer has, after a confirmation with a reason."""

import uuid

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextInputWidget

from orders.models import Order
from orders.placement.manual_end import NotProvedAbsent, end_absent_order


class EndForm(forms.Form):
    reason = forms.CharField(
        max_length=1000,
        widget=UnfoldAdminTextInputWidget,
        help_text="How you know that the exchange no longer has it. Recorded with your name.",
    )


def end_order(model_admin: ModelAdmin, request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
    if not request.user.has_perm("orders.end_order"):
        raise PermissionDenied
    order = get_object_or_404(Order, pk=order_id)
    form = EndForm(request.POST or None)
    if form.is_valid():
        try:
            end_absent_order(order_id, request.user.get_username(), form.cleaned_data["reason"])
        except NotProvedAbsent as problem:
            form.add_error(None, str(problem))
        else:
            model_admin.message_user(request, "The order has been ended.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:orders_order_change", args=[order_id]))
    context = {**model_admin.admin_site.each_context(request), "title": "End this order?", "form": form, "order": order}
    return TemplateResponse(request, "admin/orders/order/end.html", context | {"opts": model_admin.opts})
