"""The trading page of one account: its order ticket and its orders.

With JavaScript the page calls the API and follows the live events; without it, the forms are sent here and do the same.
"""

import re
import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from rest_framework.exceptions import ValidationError

from infrastructure.throttling import account_rate, counter, too_many_requests
from orders.api.authentication import anonymous_account
from orders.api.filters import OrderPagination
from orders.api.refusals import FOR_PROGRAMS, halted_one, kept_refusals, too_many
from orders.api.serializers import validate_order
from orders.events.address import live_events_url
from orders.models import Order
from orders.order_entry.service import ClientOrderIdConflict, TooManyOrders, TradingHalted, accept_orders
from orders.placement.cancel import TooLateToCancel, cancel_order
from orders.states import OrderType
from trading.examples import EXAMPLES
from trading.exchange_switch import SwitchError, switch_exchange
from trading.rows import rows

PAGE_SIZE = OrderPagination.page_size
SWITCHED = {
    "close": "The exchange is closed. Orders are still accepted, and wait until it opens.",
    "open": "The exchange is open. Waiting orders are being placed now.",
}
TEXT_FIELDS = ("instrument", "quantity", "limit_price")
TICKET_FIELDS = ("client_order_id", "type", "side", *TEXT_FIELDS)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    account = acting_account(request)
    if account is None:
        return redirect_to_login(request.get_full_path())
    if request.method == "POST":
        return too_often(account) or place(request, account)
    return show(request, account, new_ticket())


@require_POST
def cancel(request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
    account = acting_account(request)
    if account is None:
        return redirect_to_login(reverse("trading"))
    if (refusal := too_often(account)) is not None:
        return refusal
    if not Order.objects.filter(id=order_id, account=account).exists():
        raise Http404
    try:
        cancel_order(order_id, requested_by=account.get_username())
        messages.success(request, "The order is canceled, or will be canceled at the exchange.")
    except TooLateToCancel as error:
        messages.warning(request, str(error))
    return HttpResponseRedirect(reverse("trading"))


@require_POST
def exchange(request: HttpRequest, wish: str) -> HttpResponse:
    """Close or open the exchange, if it is simulated; any account may, as with the examples."""
    if not settings.EXCHANGE_IS_SIMULATED:
        raise Http404
    if acting_account(request) is None:
        return redirect_to_login(reverse("trading"))
    try:
        switch_exchange(wish)
        messages.success(request, SWITCHED[wish])
    except SwitchError as error:
        messages.warning(request, f"The exchange does not answer: {error}")
    return HttpResponseRedirect(reverse("trading"))


def acting_account(request: HttpRequest) -> User | None:
    """The account whose page it is: the one that is signed in, otherwise the anonymous one if set, as in the API."""
    return request.user if isinstance(request.user, User) else anonymous_account()


def too_often(account: User) -> HttpResponse | None:
    """The 429 response if the account sends too many requests, which count together with those to the API."""
    wait_s = counter.add(account_rate(), str(account.pk))
    return None if wait_s is None else too_many_requests(wait_s, "from this account")


def place(request: HttpRequest, account: User) -> HttpResponse:
    """Place the order in the form. A form that is sent twice has the same client_order_id, so its order is placed once."""
    ticket = {name: request.POST.get(name, "") for name in TICKET_FIELDS}
    another = ticket | {"client_order_id": str(uuid.uuid4())}
    try:
        accepted = accept_orders(account.pk, [validate_order(terms(request.POST))], keep_refused=True)
    except ValidationError as error:
        return show(request, account, ticket, error.detail)
    except ClientOrderIdConflict:
        # The form was changed and sent again after its order was placed: another order, to be confirmed by sending it once more.
        conflict = ["This ticket has already been placed. Send it again to place another order."]
        return show(request, account, another, {"client_order_id": conflict})
    except TradingHalted as halted:
        return show(request, account, another, by_field(halted_one(halted).detail))
    except TooManyOrders as error:
        return show(request, account, another, by_field(too_many(error).detail))
    for refusal in kept_refusals(accepted.orders).values():
        return show(request, account, another, by_field(refusal))
    messages.success(request, "The order was accepted.")
    return HttpResponseRedirect(reverse("trading"))


def by_field(refusal: Any) -> dict[str, list[str]]:
    """The API's refusal without the fields for programs."""
    return {name: [texts] if isinstance(texts, str) else texts for name, texts in refusal.items() if name not in FOR_PROGRAMS}


def terms(form: QueryDict) -> dict[str, Any]:
    """The form as an API client would send it: without empty fields, and with the quantity as a number.

    The page hides the limit price while the type is `market`, so a price left in the field is dropped.
    """
    given: dict[str, Any] = {name: form[name] for name in TICKET_FIELDS if form.get(name)}
    if given.get("type") == OrderType.MARKET:
        given.pop("limit_price", None)
    if re.fullmatch(r"[0-9]{1,40}", given.get("quantity", "")):
        given["quantity"] = int(given["quantity"])
    return given


def new_ticket() -> dict[str, str]:
    return {"client_order_id": str(uuid.uuid4()), "type": "market", "side": "buy"}


def show(request: HttpRequest, account: User, ticket: dict[str, str], errors: Any = None) -> HttpResponse:
    older_than = before(request)
    orders = Order.objects.filter(account=account, **({"id__lt": older_than} if older_than else {})).order_by("-id")
    found = list(orders[: PAGE_SIZE + 1])
    context = {
        "account": account,
        "is_signed_in": request.user.is_authenticated,
        "ticket": ticket,
        "errors": errors or {},
        "problem": " ".join(text for name, texts in (errors or {}).items() if name not in TEXT_FIELDS for text in texts),
        "examples": [(example, str(uuid.uuid4())) for example in EXAMPLES] if settings.EXCHANGE_IS_SIMULATED else [],
        "rows": rows(found[:PAGE_SIZE]),
        "is_first_page": older_than is None,
        "last_id": found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
        "live_events_url": live_events_url(request),
    }
    return render(request, "trading/page.html", context, status=400 if errors else 200)


def before(request: HttpRequest) -> uuid.UUID | None:
    """The id that the listed orders must be older than, for paging without JavaScript. Raises Http404."""
    try:
        return uuid.UUID(request.GET["before"])
    except KeyError:
        return None
    except ValueError:
        raise Http404 from None
