"""The short way of a request that brings one order, for nearly all of them.

Django REST framework prepares each request for everything that a view might want, which takes longer than the order itself.
Here a request that is as plain as can be is answered by the same functions and in the same words as by the viewset: it has a
token that was found valid a moment ago, JSON, and a valid order that nothing stands in the way of. Whatever is else, or
only might be, is left to the viewset, which begins anew. So there is nothing to refuse here.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus

import orjson
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.exceptions import ParseError, ValidationError

from infrastructure.database.clock import ClockWrong
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.throttling import account_rate, counter
from orders.api.authentication import remembered_account_id
from orders.api.errors import clock_wrong, database_away
from orders.api.marks import COUNTED, TRIED
from orders.api.parsing import parsed
from orders.api.serializers import location, represented, validated, with_idempotency_key
from orders.order_entry.service import store_at_once

ALLOW = "GET, POST, HEAD, OPTIONS"
WANTED = {"*/*", "application/json"}


class ShortWayMiddleware:
    """Stands before everything that only pages need, and answers what it can."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path == "/orders" and request.method == "POST":
            return accepted_at_once(request) or self.get_response(request)
        return self.get_response(request)


def accepted_at_once(request: HttpRequest) -> HttpResponse | None:
    """202 and the order, which is stored then; None when nothing has happened; 503 while we cannot accept any."""
    header = request.META
    account_id = remembered_account_id(header.get("HTTP_AUTHORIZATION", "")) if is_plain(header) else None
    if account_id is None:
        return None
    try:
        requested = validated(with_idempotency_key(header.get("HTTP_IDEMPOTENCY_KEY"), parsed(request.body)))
    except (ParseError, ValidationError):
        return None
    if counter.add(account_rate(), str(account_id)) is not None:
        return None
    header[COUNTED] = header[TRIED] = True
    try:
        orders = store_at_once(account_id, [requested])
    except DatabaseUnavailable as error:
        return database_away(request, error)
    except ClockWrong as wrong:
        return clock_wrong(wrong)
    except IntegrityError:
        # Somebody else stored the same client order id in the same moment.
        return None
    if orders is None:
        return None
    [order] = orders
    headers = {"Location": location(request, order), "Allow": ALLOW}
    return HttpResponse(orjson.dumps(represented(order)), "application/json", HTTPStatus.ACCEPTED, headers=headers)


def is_plain(header: Mapping[str, str]) -> bool:
    length = header.get("CONTENT_LENGTH", "")
    return (
        header.get("CONTENT_TYPE") == "application/json"
        and header.get("HTTP_ACCEPT", "*/*") in WANTED
        and "HTTP_TRANSFER_ENCODING" not in header
        and length.isdecimal()
    )
