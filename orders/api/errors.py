from typing import Any

import structlog
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.defaults import page_not_found
from rest_framework import status
from rest_framework.exceptions import APIException, AuthenticationFailed, NotFound
from rest_framework.response import Response
from rest_framework.views import exception_handler

from infrastructure.database.clock import ClockWrong
from infrastructure.database.errors import DatabaseUnavailable, StatementTooSlow, violated_constraint
from infrastructure.database.unavailable import one_line

log = structlog.get_logger()

DATABASE_UNAVAILABLE = (
    "The database is not available. If this request was to place an order, it may have been stored: "
    "repeat it with the same client_order_id, and it will be placed once."
)


class DatabaseUnavailableResponse(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = DATABASE_UNAVAILABLE
    default_code = "database_unavailable"
    wait = 1


class OurClockWrong(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "clock_wrong"
    # Another server may answer the next request, and correcting a clock takes a while.
    wait = 5

    def __init__(self, wrong: ClockWrong) -> None:
        super().__init__(clock_wrong_detail(wrong))


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class RequestRefused(APIException):
    """The request is valid but refused: repeating it does not help until the reason is gone."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "refused"

    def __init__(self, detail: dict[str, Any]) -> None:
        super().__init__()
        # Kept as given: the base class would convert every value to text, including null.
        self.detail = detail


class TooFast(APIException):
    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "orders_per_second"
    # Sent as Retry-After.
    wait = 1


class LengthRequired(APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "The request body needs a Content-Length; a chunked body is not read."
    default_code = "length_required"


def database_unavailable(request: HttpRequest, error: DatabaseUnavailable) -> HttpResponse:
    """The response outside Django REST framework."""
    log_unavailable(error, path=request.path)
    return JsonResponse({"detail": DATABASE_UNAVAILABLE}, status=503, headers={"Retry-After": "1"})


def log_unavailable(error: DatabaseUnavailable, **where: str) -> None:
    if isinstance(error, StatementTooSlow):
        # An error, since only a change to our code can fix it.
        log.error("statement_too_slow", doing="request", error=one_line(error), exc_info=error, **where)
    else:
        log.warning("database_unavailable", doing="request", error=one_line(error), **where)


def clock_wrong(wrong: ClockWrong) -> HttpResponse:
    """The response outside Django REST framework."""
    headers = {"Retry-After": str(OurClockWrong.wait)}
    return JsonResponse({"detail": clock_wrong_detail(wrong)}, status=OurClockWrong.status_code, headers=headers)


def clock_wrong_detail(wrong: ClockWrong) -> str:
    return f"This server's {wrong}, so it accepts no orders. Nothing was stored: repeat the request."


def is_for_api(request: HttpRequest) -> bool:
    """Whether the request is for the API rather than for a page; all middleware and error handlers decide by this."""
    return request.path.startswith("/orders")


def refused(request: HttpRequest, status: int, detail: str) -> HttpResponse:
    """The response to a request that cannot be understood: JSON for the API, otherwise a page."""
    if is_for_api(request):
        return JsonResponse({"detail": detail}, status=status)
    return render(request, "lemon_market/refused.html", {"detail": detail}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Replaces Django's own handler, which reads the form again and fails on it."""
    return refused(request, status.HTTP_400_BAD_REQUEST, "It names another host, or is not valid HTTP.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For unknown addresses: a client of the API gets JSON, whatever its Accept header."""
    if is_for_api(request):
        return JsonResponse({"detail": NotFound.default_detail}, status=status.HTTP_404_NOT_FOUND)
    return page_not_found(request, exception)


def is_account_missing(error: IntegrityError) -> bool:
    """Whether a row refers to a missing account; Django ends the name of a foreign key with the table and column it refers to."""
    return (violated_constraint(error) or "").endswith("_fk_auth_user_id")


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer every error in Django REST framework's shapes, including an unavailable database."""
    if isinstance(error, DatabaseUnavailable):
        log_unavailable(error)
        error = DatabaseUnavailableResponse()
    elif isinstance(error, ClockWrong):
        error = OurClockWrong(error)
    elif isinstance(error, IntegrityError) and is_account_missing(error):
        # The account was deleted after its token was read, a second ago at most.
        error = AuthenticationFailed("Invalid token.")
    return exception_handler(error, context)
