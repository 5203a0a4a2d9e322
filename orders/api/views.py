from collections import defaultdict
from typing import Any

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from orders.api.errors import Conflict, LengthRequired, RequestRefused
from orders.api.filters import OrderFilter, OrderPagination
from orders.api.refusals import (
    BATCH_REFUSED,
    REFUSED,
    RETRY_AFTER,
    TOO_FAST,
    by_index,
    halted_batch,
    halted_one,
    kept_refusals,
    too_many,
)
from orders.api.schema import BATCH_EXAMPLES, EXAMPLES
from orders.api.serializers import (
    MAX_BATCH,
    NewOrderSerializer,
    OrderSerializer,
    OrderWithHistorySerializer,
    location,
    validate_order,
    with_idempotency_key,
)
from orders.models import CLIENT_ORDER_ID_PATTERN, Order
from orders.order_entry.service import (
    Accepted,
    AlreadyExpired,
    ClientOrderIdConflict,
    NewOrder,
    RefusedByLimits,
    TooManyOrders,
    TradingHalted,
    accept_orders,
)
from orders.placement.cancel import TooLateToCancel, cancel_order
from orders.rendering import serialize_order
from orders.states import Status

PASSED = "This time has passed."
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": CLIENT_ORDER_ID_PATTERN},
    OpenApiParameter.HEADER,
    description="Used as the client_order_id when the body has none.",
)
REPLAYED = OpenApiResponse(OrderSerializer, description="Stored before, with the same terms; Idempotent-Replayed: true.")
CONFLICT = OpenApiResponse(description="An order with this client_order_id has other terms.")
ACCEPTED = OpenApiResponse(OrderSerializer, description="Stored; it will be placed even if the exchange is unavailable now.")


@extend_schema_view(
    list=extend_schema(
        description=(
            "Newest first. Use the pages to look back, not to follow changes: an order's id is made before the order is"
            " committed, so an order may appear on a page that was read already. The notification service publishes changes."
        )
    )
)
class OrderViewSet(mixins.RetrieveModelMixin, mixins.ListModelMixin, GenericViewSet[Order]):
    """The orders of the caller's own account; all others answer 404."""

    # For the API's schema, which is generated without a caller.
    queryset = Order.objects.none()
    lookup_value_converter = "uuid"
    serializer_class = OrderSerializer
    filter_backends = [DjangoFilterBackend]
    filterset_class = OrderFilter
    pagination_class = OrderPagination

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if "HTTP_TRANSFER_ENCODING" in request.META:
            # Django treats a body of unknown length as empty, and would report every field as missing.
            raise LengthRequired

    def get_queryset(self) -> QuerySet[Order]:
        orders = Order.objects.filter(account_id=caller_id(self.request))
        return orders.prefetch_related("events") if self.action == "retrieve" else orders

    def get_serializer_class(self) -> Any:
        return OrderWithHistorySerializer if self.action == "retrieve" else OrderSerializer

    @extend_schema(
        request=NewOrderSerializer,
        responses={202: ACCEPTED, 200: REPLAYED, 409: CONFLICT, 422: REFUSED, 429: TOO_FAST},
        parameters=[IDEMPOTENCY_KEY, RETRY_AFTER],
        examples=EXAMPLES,
    )
    def create(self, request: Request) -> Response:
        requested = validate_order(with_idempotency_key(request.META.get("HTTP_IDEMPOTENCY_KEY"), request.data))
        try:
            accepted = accept_orders(caller_id(request), [requested], keep_refused=True)
        except AlreadyExpired:
            raise ValidationError({"expires_at": [PASSED]}) from None
        except ClientOrderIdConflict as conflict:
            raise Conflict({"client_order_id": [conflict.problems[0]]}) from None
        except TradingHalted as halted:
            raise halted_one(halted) from None
        except TooManyOrders as error:
            raise too_many(error) from None
        [order] = accepted.orders
        headers = {"Location": location(request, order)}
        for problem in kept_refusals(accepted.orders).values():
            return Response(problem, status.HTTP_422_UNPROCESSABLE_ENTITY, headers=headers)
        return answer(accepted, serialize_order(order), headers)

    @extend_schema(
        request=NewOrderSerializer(many=True),
        responses={
            202: OrderSerializer(many=True),
            200: OrderSerializer(many=True),
            409: CONFLICT,
            422: BATCH_REFUSED,
            429: TOO_FAST,
        },
        parameters=[RETRY_AFTER],
        examples=BATCH_EXAMPLES,
    )
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    def batch(self, request: Request) -> Response:
        """Store up to 1,000 orders, all or none. Errors are listed by the index of the order, from 0."""
        requested = validate_batch(request)
        try:
            accepted = accept_orders(caller_id(request), requested)
        except AlreadyExpired as expired:
            raise ValidationError({str(index): {"expires_at": [PASSED]} for index in expired.indexes}) from None
        except ClientOrderIdConflict as conflict:
            problems = {str(index): {"client_order_id": [problem]} for index, problem in conflict.problems.items()}
            raise Conflict(problems) from None
        except TradingHalted as halted:
            raise halted_batch(halted) from None
        except TooManyOrders as error:
            raise too_many(error) from None
        except RefusedByLimits as refused:
            raise by_index(refused.refusals) from None
        if problems := kept_refusals(accepted.orders):
            raise RequestRefused(problems)
        return answer(accepted, [serialize_order(order) for order in accepted.orders], {})

    @extend_schema(
        request=None,
        responses={
            200: OpenApiResponse(OrderSerializer, description="Canceled: it is not at the exchange and will not be sent there."),
            202: OpenApiResponse(
                OrderSerializer, description="The cancel is stored and will be sent to the exchange; the result follows."
            ),
            409: OpenApiResponse(description="Nothing is left to cancel."),
        },
    )
    @action(detail=True, methods=["post"], filter_backends=[])
    def cancel(self, request: Request, pk: Any = None) -> Response:
        """Cancel the order. Safe to repeat."""
        order = self.get_object()
        try:
            order = cancel_order(order.id, requested_by=request.user.get_username())
        except TooLateToCancel as error:
            raise Conflict(str(error)) from None
        code = status.HTTP_200_OK if order.status == Status.CANCELED else status.HTTP_202_ACCEPTED
        return Response(serialize_order(order), code)


def caller_id(request: Request) -> int:
    """The id of the account that the permission classes have let in."""
    assert request.user.pk is not None
    return request.user.pk


def validate_batch(request: Request) -> list[NewOrder]:
    """The orders in the body. Raises ValidationError with the errors by index, from 0."""
    if "HTTP_IDEMPOTENCY_KEY" in request.META:
        raise ValidationError({"detail": "A batch does not accept an Idempotency-Key; give each order its own client_order_id."})
    if not isinstance(request.data, list) or not 1 <= len(request.data) <= MAX_BATCH:
        raise ValidationError({"detail": f"The body must be a list of 1 to {MAX_BATCH} orders."})
    requested, errors = [], {}
    for index, order in enumerate(request.data):
        try:
            requested.append(validate_order(order))
        except ValidationError as error:
            errors[str(index)] = error.detail
    if errors:
        raise ValidationError(errors)
    indexes = defaultdict(list)
    for index, new in enumerate(requested):
        if new.client_order_id is not None:
            indexes[new.client_order_id].append(index)
    repeated = {
        str(index): {"client_order_id": [f"The same as in order {first}."]}
        for first, *others in indexes.values()
        for index in others
    }
    if repeated:
        raise ValidationError(repeated)
    return requested


def answer(accepted: Accepted, data: Any, headers: dict[str, str]) -> Response:
    if accepted.replayed:
        return Response(data, status.HTTP_200_OK, headers={**headers, "Idempotent-Replayed": "true"})
    return Response(data, status.HTTP_202_ACCEPTED, headers=headers)
