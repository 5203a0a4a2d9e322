"""An order as it leaves the service, field by field: in the API, in the events that clients receive, and in the desk's CSV."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from orders.models import Order


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


# In the order of the API's documents. Decimals become text, since a JSON number may lose digits.
RENDER: dict[str, Callable[[Any], Any]] = {
    "id": str,
    "client_order_id": str,
    "created_at": moment,
    "updated_at": moment,
    "type": str,
    "side": str,
    "instrument": str,
    "limit_price": "{:.2f}".format,
    "quantity": int,
    "expires_at": moment,
    "status": str,
    "error_code": str,
    "error_message": str,
    "attempt_count": int,
    "next_attempt_at": moment,
    "cancel_requested_at": moment,
    "exchange_order_id": str,
    "placed_at": moment,
    "execution_status": str,
    "filled_quantity": int,
    "average_price": "{:.8f}".format,
}


def render(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Columns of an order by name, as clients see them."""
    return {name: None if value is None else RENDER[name](value) for name, value in values}


def serialize_order(order: Order) -> dict[str, Any]:
    """The whole order as clients see it. The same as from REST framework's fields, in a tenth of the time."""
    return render((name, getattr(order, name)) for name in RENDER)
