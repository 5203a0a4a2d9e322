"""How clients are told of refusals by halts and limits: by field, as with all errors, and with a `code` for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from orders.api.errors import RequestRefused, TooFast
from orders.models import Halt, Order, OrderEvent
from orders.order_entry.service import TooManyOrders, TradingHalted
from orders.rendering import moment
from orders.risk.limits import FIELDS
from orders.states import EventType, Limit, Refusal

HALTED = "trading_halted"
TRADING_IS_HALTED = {"detail": "Trading is halted: no new orders are accepted.", "code": HALTED}
INSTRUMENT_IS_HALTED = {"instrument": ["Trading in this instrument is halted."], "code": HALTED}
# Fields for programs, next to the texts.
FOR_PROGRAMS = ("code", "halted_since", "confirmed_at")
STOPPING = {"halted_since": "2030-01-31T10:02:11.502311Z", "confirmed_at": None}
CONFIRMED = STOPPING | {"confirmed_at": "2030-01-31T10:02:12.114500Z"}

QUANTITY_EXAMPLE = {"quantity": ["At most 100 in one order."], "code": Limit.QUANTITY.value}
REFUSED = OpenApiResponse(
    OpenApiTypes.OBJECT,
    description=(
        "Refused by a halt (`trading_halted`, not stored) or by a limit of the account (`max_quantity`, `max_notional`, "
        "`price_collar`, `open_orders`; stored as failed, at the Location). Nothing is or will be sent to the exchange. "
        "A halt is in force from `halted_since` on. `confirmed_at` is null until all that was accepted or being sent when it "
        "began has ended: from then on the exchange receives nothing that the halt covers."
    ),
    examples=[
        OpenApiExample("a limit", QUANTITY_EXAMPLE),
        OpenApiExample("a halt of everything or of the account", TRADING_IS_HALTED | CONFIRMED),
        OpenApiExample("a halt of the instrument, not confirmed yet", INSTRUMENT_IS_HALTED | STOPPING),
    ],
)
BATCH_REFUSED = OpenApiResponse(
    OpenApiTypes.OBJECT,
    description="Refused by halts or limits, by index; nothing is stored. A halt of everything or of the account has no index.",
    examples=[
        OpenApiExample("limits", {"1": QUANTITY_EXAMPLE}),
        OpenApiExample("a halt", TRADING_IS_HALTED | CONFIRMED),
        OpenApiExample("a halt of an instrument", {"1": INSTRUMENT_IS_HALTED | CONFIRMED}),
    ],
)
TOO_FAST = OpenApiResponse(
    OpenApiTypes.OBJECT,
    description="More orders than the account may send in one second. Nothing is stored; repeat the request after Retry-After.",
    examples=[OpenApiExample("the rate", {"detail": "Too many orders: at most 5 per second.", "code": Limit.RATE.value})],
)
RETRY_AFTER = OpenApiParameter("Retry-After", int, OpenApiParameter.HEADER, response=[429], description="Seconds.")


def by_field(limit: str, message: str) -> dict[str, Any]:
    field = FIELDS.get(Limit(limit))
    return {field: [message], "code": limit} if field else {"detail": message, "code": limit}


def by_index(refusals: Mapping[int, Refusal]) -> RequestRefused:
    return RequestRefused({str(index): by_field(refusal.limit.value, refusal.message) for index, refusal in refusals.items()})


def kept_refusals(orders: Sequence[Order]) -> dict[str, dict[str, Any]]:
    """By index, the refusals of orders that limits refused and that were stored as failed. A repeated request gets the same."""
    refused = {order.id: (str(index), order) for index, order in enumerate(orders) if order.is_refused_by_limits}
    if not refused:
        return {}
    events = OrderEvent.objects.filter(order_id__in=refused, type=EventType.FAILED, data__has_key="limit")
    limits = dict(events.order_by("id").values_list("order_id", "data__limit"))
    return {index: by_field(limits[id], order.error_message or "") for id, (index, order) in refused.items()}


def halted_one(halted: TradingHalted) -> RequestRefused:
    return RequestRefused(of_everything(halted.halts) if halted.halts else of_instrument(halted.by_index[0]))


def halted_batch(halted: TradingHalted) -> RequestRefused:
    if halted.halts:
        return RequestRefused(of_everything(halted.halts))
    return RequestRefused({str(index): of_instrument(halt) for index, halt in halted.by_index.items()})


def of_everything(halts: Sequence[Halt]) -> dict[str, Any]:
    """Each halt stops everything on its own, so one confirmed halt is enough."""
    confirmed = [halt.confirmed_at for halt in halts if halt.confirmed_at is not None]
    since = min(halt.started_at for halt in halts)
    return TRADING_IS_HALTED | {"halted_since": moment(since), "confirmed_at": moment(min(confirmed, default=None))}


def of_instrument(halt: Halt) -> dict[str, Any]:
    return INSTRUMENT_IS_HALTED | {"halted_since": moment(halt.started_at), "confirmed_at": moment(halt.confirmed_at)}


def too_many(error: TooManyOrders) -> RequestRefused | TooFast:
    detail = {"detail": f"Too many orders: at most {error.per_second} per second.", "code": Limit.RATE.value}
    return RequestRefused(detail) if error.never_fits else TooFast(detail)
