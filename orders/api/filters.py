import re
import uuid
from datetime import UTC, datetime
from typing import Any

import django_filters
from django.core.exceptions import ValidationError as FormError
from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime
from django_filters.fields import IsoDateTimeField
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from orders.api.serializers import OFFSET_MISSING
from orders.instruments import canonical_instrument
from orders.models import Order
from orders.states import ExecutionStatus, OrderType, Side, Status


def lacks_offset(value: str) -> bool:
    text = value.strip()
    moment = parse_datetime(text)
    return len(text) > len("2030-01-31") and moment is not None and moment.tzinfo is None


class MomentFilterField(IsoDateTimeField):
    """RFC 3339 with an offset, or a date, which stands for midnight UTC.

    Converted to UTC, since PostgreSQL accepts offsets up to 15:59 and Python any below a day.
    """

    def to_python(self, value: Any) -> datetime | None:
        moment: datetime | None = super().to_python(value)
        if moment is not None and lacks_offset(value):
            raise FormError(OFFSET_MISSING)
        try:
            return None if moment is None else moment.astimezone(UTC)
        except OverflowError:
            # Beyond either end of the calendar, where there are no orders.
            is_first = moment is not None and moment.year == 1
            return datetime.min.replace(tzinfo=UTC) if is_first else datetime.max.replace(tzinfo=UTC)


class MomentFilter(django_filters.IsoDateTimeFilter):
    field_class = MomentFilterField


class InstrumentFilter(django_filters.CharFilter):
    """Matches in any letter case. A value that is not an instrument has no orders."""

    def filter(self, qs: QuerySet[Order], value: str) -> QuerySet[Order]:
        try:
            return qs.filter(instrument=canonical_instrument(value)) if value else qs
        except ValueError:
            return qs.none()


class OrderFilter(django_filters.FilterSet):
    """Filters that combine; a filter with a fixed set of values may be repeated, and then matches any of them."""

    status = django_filters.MultipleChoiceFilter(choices=Status.choices)
    execution_status = django_filters.MultipleChoiceFilter(choices=ExecutionStatus.choices)
    type = django_filters.MultipleChoiceFilter(choices=OrderType.choices)
    side = django_filters.MultipleChoiceFilter(choices=Side.choices)
    instrument = InstrumentFilter(max_length=12)
    client_order_id = django_filters.CharFilter(max_length=64)
    created_after = MomentFilter(field_name="created_at", lookup_expr="gt")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Order
        fields: list[str] = []


class OrderPagination(CursorPagination):
    """Newest first. The id is a UUIDv7 (RFC 9562), which sorts by time and never ties."""

    ordering = "-id"
    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] |= {"minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return parameters

    def get_page_size(self, request: Request) -> int:
        given = request.query_params.get("page_size")
        if given is None:
            return self.page_size
        if not re.fullmatch(r"[0-9]{1,9}", given) or not 1 <= int(given) <= self.max_page_size:
            raise ValidationError({"page_size": [f"This must be a whole number from 1 to {self.max_page_size}."]})
        return int(given)

    def decode_cursor(self, request: Request) -> Cursor | None:
        cursor = super().decode_cursor(request)
        # A reverse cursor without a position starts at the end of the list. Any other must hold an id: we issue no others.
        if cursor is not None and not (cursor.reverse and cursor.position is None):
            try:
                uuid.UUID(str(cursor.position))
            except ValueError:
                raise NotFound(self.invalid_cursor_message) from None
        return cursor

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        self.refuse_misleading_parameters(request)
        return super().paginate_queryset(queryset, request, view)

    def refuse_misleading_parameters(self, request: Request) -> None:
        """Refuse misspelt, empty or repeated filters, which would return the wrong orders. Raises ValidationError."""
        known = {*OrderFilter.base_filters, self.page_size_query_param, self.cursor_query_param}
        problems = {}
        for name, values in request.query_params.lists():
            several = isinstance(OrderFilter.base_filters.get(name), django_filters.MultipleChoiceFilter)
            if name not in known:
                problems[name[:100]] = [f"There is no such parameter. The parameters are: {', '.join(sorted(known))}."]
            elif "" in values:
                problems[name] = ["This parameter is empty."]
            elif len(values) > 1 and not several:
                problems[name] = ["This parameter is given more than once."]
        if problems:
            raise ValidationError(dict(list(problems.items())[:20]))
