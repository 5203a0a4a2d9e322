"""How the order list is filtered and searched, so that its cost does not grow with the number of orders.

Lists are newest first, by the primary key, and stop reading once a page is full. Each selective filter has an index in that
order: every status but `completed`, account, instrument, due orders. A combination of filters that few orders match may still
read many rows; `DATABASE_TIMEOUT_ADMIN` bounds that.
"""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RadioFilter, RangeDateTimeFilter
from unfold.utils import parse_datetime_str

from orders.admin.allowed_filters import MOMENT, Check, one_of
from orders.instruments import canonical_instrument
from orders.models import Order
from orders.order_ids import first_id_at
from orders.states import ErrorCode, ExecutionStatus, OrderType, Side, Status

MILLISECOND = timedelta(milliseconds=1)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC) - MILLISECOND


ATTENTION = {
    "operator": "Needs an operator: failed or error",
    "contradiction": "Contradicted by the exchange",
    "due": "Due: waiting for a worker",
}


class AttentionFilter(RadioFilter):
    """Orders that wait for an operator or a worker."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(ATTENTION.items())

    def queryset(self, request: HttpRequest, queryset: Any) -> QuerySet[Order]:
        match self.value():
            case "operator":
                return queryset.needs_operator()
            case "contradiction":
                return queryset.filter(discrepancy__isnull=False)
            case "due":
                return queryset.due(timezone.now())
        return queryset


class ErrorCodeFilter(ChoicesCheckboxFilter):
    """By the last problem. Completed orders have none; excluding them lets the database use an index."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        found = super().queryset(request, queryset)
        return found.exclude(status=Status.COMPLETED) if self.value() else found


class AcceptedFilter(RangeDateTimeFilter):
    """By the time of acceptance, to the millisecond, which is part of the id."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        begin, end = self.moment("from"), self.moment("to")
        if begin is not None:
            queryset = queryset.filter(id__gte=first_id_at(begin))
        if end is not None:
            queryset = queryset.filter(id__lt=first_id_at(min(end, LAST_MOMENT) + MILLISECOND))
        return queryset

    def moment(self, end: str) -> datetime | None:
        day, time = (self.used_parameters.get(f"created_at_{end}_{part}") for part in (0, 1))
        moment = parse_datetime_str(f"{day} {time}") if day and time else None
        return moment and moment.replace(tzinfo=UTC)


def search_orders(orders: QuerySet[Order], term: str) -> QuerySet[Order]:
    """The orders whose id, client order id, exchange order id, instrument or account is exactly `term`.

    Every condition has an index, and one that cannot be met is left out. The term is not split into words, since a
    client order id may contain spaces.
    """
    term = term.strip()
    if not term:
        return orders
    found = Q(client_order_id=term) | Q(exchange_order_id=term)
    with suppress(ValueError):
        found |= Q(id=uuid.UUID(term))
    with suppress(ValueError):
        found |= Q(instrument=canonical_instrument(term))
    if account_id := get_user_model().objects.filter(username=term).values_list("id", flat=True).first():
        found |= Q(account=account_id)
    return orders.filter(found)


LIST_FILTER: Sequence[Any] = [
    AttentionFilter,
    ("status", ChoicesCheckboxFilter),
    ("error_code", ErrorCodeFilter),
    ("execution_status", ChoicesCheckboxFilter),
    ("type", ChoicesCheckboxFilter),
    ("side", ChoicesCheckboxFilter),
    ("created_at", AcceptedFilter),
]
LOOKUPS: Mapping[str, Check] = {
    "attention": one_of(ATTENTION),
    "status__exact": one_of(Status.values),
    "error_code__exact": one_of(ErrorCode.values),
    "execution_status__exact": one_of(ExecutionStatus.values),
    "type__exact": one_of(OrderType.values),
    "side__exact": one_of(Side.values),
    **{f"created_at_{end}_{part}": MOMENT for end in ("from", "to") for part in (0, 1)},
}
