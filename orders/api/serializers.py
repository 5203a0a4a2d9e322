import re
from decimal import Decimal
from typing import Any

from django.db.models import TextChoices
from django.http import HttpRequest
from rest_framework import serializers

from orders.instruments import ANY_CASE_PATTERN
from orders.models import CLIENT_ORDER_ID_PATTERN, Order, OrderEvent
from orders.order_entry.service import NewOrder
from orders.rendering import RENDER, serialize_order
from orders.states import OrderType, Side

MAX_QUANTITY = 2**31 - 1
MAX_BATCH = 1000


class TextField(serializers.CharField):
    """A JSON string; no other type is converted to one."""

    def __init__(self, pattern: str, explanation: str, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)
        self.pattern = re.compile(pattern)
        self.explanation = explanation

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("This must be a string.")
        if not self.pattern.fullmatch(data):
            raise serializers.ValidationError(self.explanation)
        return data


class WholeNumberField(serializers.IntegerField):
    """A JSON number without a fraction; "100" and true are refused."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            raise serializers.ValidationError("This must be a whole number.")
        return data


class PriceField(serializers.DecimalField):
    """A JSON number or a string such as "250.50": exact, above 0, at most 2 decimals."""

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        # A decimal field would treat blank text as null.
        return serializers.Field.validate_empty_values(self, data)

    def to_internal_value(self, data: Any) -> Decimal:
        is_number = isinstance(data, int | Decimal) and not isinstance(data, bool)
        if not is_number and not (isinstance(data, str) and re.fullmatch(r"[0-9]{1,30}(\.[0-9]{1,30})?", data)):
            raise serializers.ValidationError("A valid number is required.")
        return super().to_internal_value(data)


OFFSET_MISSING = "The offset from UTC is missing: write 2030-01-31T15:30:00Z."


class MomentField(serializers.DateTimeField):
    """RFC 3339 with an offset: without one we would have to guess the time zone."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            raise serializers.ValidationError("This must be a string such as 2030-01-31T15:30:00Z.")
        return super().to_internal_value(data)

    def enforce_timezone(self, value: Any) -> Any:
        if value.tzinfo is None:
            raise serializers.ValidationError(OFFSET_MISSING)
        return super().enforce_timezone(value)


def one_of(choices: type[TextChoices]) -> serializers.ChoiceField:
    # The error does not repeat the input, which may be anything and of any length.
    names = " or ".join(choices.values)
    return serializers.ChoiceField(choices.choices, error_messages={"invalid_choice": f"This must be {names}."})


class KnownFieldsSerializer(serializers.Serializer):
    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = [name for name in data if name not in self.fields]
            if unknown:
                known = ", ".join(self.fields)
                raise serializers.ValidationError(
                    {name[:100]: [f"There is no such field. The fields are: {known}."] for name in unknown[:20]}
                )
        return super().to_internal_value(data)


class NewOrderSerializer(KnownFieldsSerializer):
    """An order as a client sends it."""

    client_order_id = TextField(
        CLIENT_ORDER_ID_PATTERN,
        "1 to 64 printable ASCII characters, without a space at either end.",
        required=False,
        max_length=64,
        help_text="The client's own id, unique per account. A request can safely be repeated with the same id.",
    )
    type = one_of(OrderType)
    side = one_of(Side)
    instrument = TextField(
        ANY_CASE_PATTERN,
        "Exactly 12 characters: letters, digits and . _ - (an ISIN has 12).",
        help_text="Exactly 12 characters, such as an ISIN. Letters are stored in upper case.",
    )
    limit_price = PriceField(
        max_digits=19,
        decimal_places=2,
        min_value=Decimal("0.01"),
        required=False,
        allow_null=True,
        help_text="Required for a limit order, not allowed for a market order.",
    )
    quantity = WholeNumberField(min_value=1, max_value=MAX_QUANTITY)
    expires_at = MomentField(required=False, allow_null=True, help_text="Nothing is sent to the exchange after this time.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["type"] == OrderType.MARKET and attrs.get("limit_price") is not None:
            raise serializers.ValidationError({"limit_price": ["A market order has no limit price."]})
        if attrs["type"] == OrderType.LIMIT and attrs.get("limit_price") is None:
            raise serializers.ValidationError({"limit_price": ["A limit order needs a limit price."]})
        return attrs


class OrderSerializer(serializers.ModelSerializer[Order]):
    class Meta:
        model = Order
        fields = list(RENDER)
        read_only_fields = fields

    def to_representation(self, instance: Order) -> dict[str, Any]:
        return serialize_order(instance)


# Shared, since making a serializer's fields takes ten times as long as using them. It keeps no state between calls.
NEW_ORDER = NewOrderSerializer()


def validate_order(data: Any) -> NewOrder:
    """The order that a client asks for. Raises ValidationError."""
    if data is None:
        raise serializers.ValidationError({"non_field_errors": ["No data provided"]})
    return NewOrder(**NEW_ORDER.run_validation(data))


def with_idempotency_key(key: str | None, data: Any) -> Any:
    """The body, with the header's id if the body has none. Raises ValidationError when the two differ."""
    if key is None or not isinstance(data, dict):
        return data
    if data.get("client_order_id", key) != key:
        raise serializers.ValidationError({"client_order_id": ["The Idempotency-Key header has another id."]})
    return {**data, "client_order_id": key}


def location(request: HttpRequest, order: Order) -> str:
    """The URL of the order."""
    return f"{request.scheme}://{request.get_host()}/orders/{order.id}"


class OrderEventSerializer(serializers.ModelSerializer[OrderEvent]):
    class Meta:
        model = OrderEvent
        fields = ["event_id", "type", "occurred_at", "recorded_at", "data"]
        read_only_fields = fields


class OrderWithHistorySerializer(OrderSerializer):
    history = OrderEventSerializer(many=True, source="events", read_only=True)

    class Meta(OrderSerializer.Meta):
        fields = [*OrderSerializer.Meta.fields, "history"]
        read_only_fields = fields

    def to_representation(self, instance: Order) -> dict[str, Any]:
        return {**serialize_order(instance), "history": self.fields["history"].to_representation(instance.events)}
