from typing import Any

import django_filters
from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from orders.models import Order
from orders.states import ExecutionStatus, OrderType, Side, Status


class OrderFilter(django_filters.FilterSet):
    """Filters that combine; those with a fixed set of values may be given several times, meaning any of them."""

    status = django_filters.MultipleChoiceFilter(choices=Status.choices)
    execution_status = django_filters.MultipleChoiceFilter(choices=ExecutionStatus.choices)
    type = django_filters.MultipleChoiceFilter(choices=OrderType.choices)
    side = django_filters.MultipleChoiceFilter(choices=Side.choices)
    instrument = django_filters.CharFilter(max_length=12)
    client_order_id = django_filters.CharFilter(max_length=64)
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gt")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Order
        fields: list[str] = []


class OrderPagination(CursorPagination):
    """Newest first. The id is a UUIDv7 (RFC 9562), which sorts by time and never ties."""

    ordering = "-id"
    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"

    def get_page_size(self, request: Request) -> int:
        given = request.query_params.get("page_size")
        if given is None:
            return self.page_size
        if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= self.max_page_size:
            raise ValidationError({"page_size": [f"This must be a whole number from 1 to {self.max_page_size}."]})
        return int(given)

    def paginate_queryset(self, queryset: QuerySet[Order], request: Request, view: Any = None) -> list[Order] | None:
        known = {*OrderFilter.base_filters, self.page_size_query_param, self.cursor_query_param}
        unknown = [name for name in request.query_params if name not in known]
        if unknown:
            # A misspelt filter would otherwise answer with orders that were not asked for.
            message = f"There is no such parameter. The parameters are: {', '.join(sorted(known))}."
            raise ValidationError({name[:100]: [message] for name in unknown[:20]})
        return super().paginate_queryset(queryset, request, view)
