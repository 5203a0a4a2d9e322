"""Adds to the API's schema what applies to every call: the errors besides the call's own."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import OpenApiExample

ERROR = "Error"
# Django REST framework's own shapes: `detail`, or problems by field, or by index in a batch and then by field.
ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": True,
    "properties": {"detail": {"type": "string"}, "code": {"type": "string"}},
    "description": "`detail` concerns the whole request; other names are fields, or indexes in a batch, with their problems.",
}
RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "required": True, "description": "Seconds."}}
EVERY_CALL = {
    "401": "Credentials are missing or wrong.",
    "406": "Accept asks for something other than application/json.",
    "429": "Too many requests from this account or this address.",
    "503": "The database is not available. An order may have been stored: repeat it with the same client_order_id.",
}
CALLS_THAT_WRITE = {
    "403": "A session is used without its CSRF token.",
    "411": "The body has no Content-Length.",
    "413": "The body is larger than 1 MiB.",
}
CALLS_WITH_A_BODY = {"400": "The request is not valid.", "415": "The body is not application/json."}


LIMIT_ORDER = {"type": "limit", "side": "sell", "instrument": "TSLA_2025_06", "limit_price": "250.50", "quantity": 50}
MARKET_ORDER = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100}
EXAMPLES = [
    OpenApiExample("a market order", MARKET_ORDER, request_only=True),
    OpenApiExample("a limit order", LIMIT_ORDER, request_only=True),
]
# An example of one order: drf-spectacular wraps it in a list.
BATCH_EXAMPLES = [OpenApiExample("a batch", MARKET_ORDER, request_only=True)]


def add_refusals(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A drf-spectacular hook: add to the document every response that a client must expect."""
    schemas = result["components"]["schemas"]
    schemas[ERROR] = ERROR_SCHEMA
    schemas["NewOrder"]["additionalProperties"] = False
    for path, calls in result["paths"].items():
        for method, call in calls.items():
            refusals = dict(EVERY_CALL)
            if method == "get" and "{id}" not in path:
                refusals["400"] = "A parameter is not valid."
            if "{id}" in path or method == "get":
                refusals["404"] = "This account has no such order, or the cursor is not valid."
            if method == "post":
                refusals |= CALLS_THAT_WRITE | (CALLS_WITH_A_BODY if "requestBody" in call else {})
            for code, description in refusals.items():
                answer = call["responses"].setdefault(code, {"description": description})
                answer.setdefault("content", {"application/json": {"schema": {"$ref": f"#/components/schemas/{ERROR}"}}})
            for code in ("429", "503"):
                call["responses"][code].setdefault("headers", RETRY_AFTER)
            call["responses"] = dict(sorted(call["responses"].items()))
    return result


class TextFieldScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "orders.api.serializers.TextField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"type": "string", "pattern": self.target.pattern.pattern}


class PriceFieldScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "orders.api.serializers.PriceField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        decimals, digits = self.target.decimal_places, self.target.max_digits - self.target.decimal_places
        text = {"type": "string", "pattern": f"^[0-9]{{1,{digits}}}(\\.[0-9]{{1,{decimals}}})?$"}
        number = {"type": "number", "minimum": float(self.target.min_value), "multipleOf": 10**-decimals}
        return {"oneOf": [text, number]}
