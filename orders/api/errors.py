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

DATABASE_AWAY = (
    "The database is not available. If this request was to place an order, it may have been stored: "
    "repeat it with the same client_order_id, and it will be placed once."
)


class DatabaseUnavailableResponse(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = DATABASE_AWAY
    default_code = "database_unavailable"
    wait = 1


class OurClockWrong(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "clock_wrong"
    # Another server may answer the next request, and clocks are not set right in a moment.
    wait = 5

    def __init__(self, wrong: ClockWrong) -> None:
        super().__init__(clock_wrong_detail(wrong))


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class RequestRefused(APIException):
    """Understood and not accepted: sending the same again without a change of circumstances will not help."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "refused"

    def __init__(self, detail: dict[str, Any]) -> None:
        super().__init__()
        # As it is: the base class would make a text of everything, of null, too.
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
    """The answer wherever Django REST framework does not make it."""
    log_unavailable(error, path=request.path)
    return JsonResponse({"detail": DATABASE_AWAY}, status=503, headers={"Retry-After": "1"})


def log_unavailable(error: DatabaseUnavailable, **where: str) -> None:
    if isinstance(error, StatementTooSlow):
        # Nobody but us can do anything about it.
        log.error("statement_too_slow", doing="request", error=one_line(error), exc_info=error, **where)
    else:
        log.warning("database_unavailable", doing="request", error=one_line(error), **where)


def clock_wrong(wrong: ClockWrong) -> HttpResponse:
    """The answer wherever Django REST framework does not make it."""
    headers = {"Retry-After": str(OurClockWrong.wait)}
    return JsonResponse({"detail": clock_wrong_detail(wrong)}, status=OurClockWrong.status_code, headers=headers)


def clock_wrong_detail(wrong: ClockWrong) -> str:
    return f"This server's {wrong}, so it accepts no orders. Nothing was stored: repeat the request."


def is_for_api(request: HttpRequest) -> bool:
    """Whether it is for the API, and not for a page: what stands here decides it for all middleware and all errors."""
    return request.path.startswith("/orders")


def refused(request: HttpRequest, status: int, detail: str) -> HttpResponse:
    """The answer to what cannot be understood: a page for a person, JSON for a client of the API."""
    if is_for_api(request):
        return JsonResponse({"detail": detail}, status=status)
    return render(request, "lemon_market/refused.html", {"detail": detail}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """In place of Django's own, which reads the form once more, and fails with it."""
    return refused(request, status.HTTP_400_BAD_REQUEST, "It is for another host, or not made as HTTP wants it.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For addresses that are none: a client of the API reads JSON, whatever it asked for."""
    if is_for_api(request):
        return JsonResponse({"detail": NotFound.default_detail}, status=status.HTTP_404_NOT_FOUND)
    return page_not_found(request, exception)


def is_account_missing(error: IntegrityError) -> bool:
    """Whether a row refers to an account that is not there; Django's names of foreign keys end in what they refer to."""
    return (violated_constraint(error) or "").endswith("_fk_auth_user_id")


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Django REST framework's shapes for everything, the absence of the database included."""
    if isinstance(error, DatabaseUnavailable):
        log_unavailable(error)
        error = DatabaseUnavailableResponse()
    elif isinstance(error, ClockWrong):
        error = OurClockWrong(error)
    elif isinstance(error, IntegrityError) and is_account_missing(error):
        # The account is gone since its token was looked at, a second ago at most.
        error = AuthenticationFailed("Invalid token.")
    return exception_handler(error, context)
