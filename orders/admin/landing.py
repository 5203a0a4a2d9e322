"""The first page of the back office, and the part of it that refreshes itself."""

from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from orders.admin.charts import draw
from orders.admin.minute_counts import counts_by_minute, sum_by_hour
from orders.admin.overview import overview

DAY_MINUTES = 24 * 60


def add_to_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """For django-unfold's setting DASHBOARD_CALLBACK; without the permission to view orders there is no overview."""
    return context | {"overview": state(request) if may_view(request) else None}


def fragment(request: HttpRequest) -> HttpResponse:
    if not may_view(request):
        raise PermissionDenied
    return TemplateResponse(request, "admin/orders/overview.html", {"overview": state(request)})


def may_view(request: HttpRequest) -> bool:
    return request.user.has_perm("orders.view_order")


def state(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    by_minute = counts_by_minute(now, DAY_MINUTES)
    last_hour = dict(list(by_minute.items())[-60:])
    return overview(now) | {
        "charts": [
            draw("Last hour, by minute", last_hour, timedelta(minutes=1)),
            draw("Last day, by hour", sum_by_hour(by_minute), timedelta(hours=1)),
        ],
        "may_view_dead_letters": request.user.has_perm("orders.view_deadletter"),
        "may_view_position": request.user.has_perm("orders.view_feedposition"),
    }
