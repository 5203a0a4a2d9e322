from collections.abc import Callable, Iterator
from http import HTTPStatus
from time import perf_counter
from typing import Any, cast

import structlog
from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.handlers.exception import convert_exception_to_response
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponsePermanentRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.utils.module_loading import import_string

from infrastructure import logs
from infrastructure.client_address import PROBES
from infrastructure.content_types import REFUSED
from infrastructure.database.base import each_within_query_timeout, query_timeout
from infrastructure.database.clock import ClockWrong
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.instrumentation import observe_acceptance
from orders.api.errors import clock_wrong, database_unavailable, is_for_api, refused

MAX_LOGGED_LENGTH = 200
UNREADABLE_CONTENT_TYPE = "The Content-Type cannot be read, or names a charset other than UTF-8."
UNREADABLE_FORM = "The form cannot be read: it contains files, has too many fields, or is malformed."
log = structlog.get_logger()


class RequestMiddleware:
    """Gives each request an id, adds it to all its log lines and to the response, and measures how long the request takes."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = perf_counter()
        request_id = logs.request_id(request.META.get("HTTP_X_REQUEST_ID"))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        took_s = perf_counter() - started
        response["X-Request-ID"] = request_id
        observe_acceptance(request, response.status_code, took_s)
        if settings.LOG_TRAFFIC:
            # Without the query string, which may contain anything, secrets included.
            answered = {"method": request.method, "path": request.path, "status": response.status_code}
            log.info("answered", **answered, took_ms=round(took_s * 1000, 1))
        structlog.contextvars.clear_contextvars()
        return response

    def process_view(self, request: HttpRequest, view: Any, arguments: Any, named: dict[str, Any]) -> None:
        if request.path.startswith("/orders/") and "pk" in named:
            structlog.contextvars.bind_contextvars(order_id=str(named["pk"]))


class BodyLimitMiddleware:
    """Refuses a body that is too long before it is read: Django would read a form with files to its end."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and int(length) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return self.get_response(request)
        detail = f"The request body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes."
        return JsonResponse({"detail": detail}, status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class FormMiddleware:
    """Refuses an unreadable form before anything else reads it.

    Django's own error page would read it again, fail again, and end in an empty response outside all middleware.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        content_type = request.META.get(REFUSED)
        if content_type is not None:
            log.info("content_type_refused", path=request.path, content_type=content_type[:MAX_LOGGED_LENGTH])
            return refused(request, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, UNREADABLE_CONTENT_TYPE)
        if is_for_api(request):
            # The API accepts only JSON, and refuses anything else itself.
            return self.get_response(request)
        try:
            request.POST  # noqa: B018 - reads the form
        except (BadRequest, SuspiciousOperation, MultiPartParserError, LookupError, ValueError) as error:
            log.info("form_refused", path=request.path, error=str(error)[:MAX_LOGGED_LENGTH])
            return refused(request, HTTPStatus.BAD_REQUEST, UNREADABLE_FORM)
        return self.get_response(request)


class PageMiddleware:
    """Applies PAGE_MIDDLEWARE to pages only: the API has no forms, messages, sign-in or sessions of its own.

    A page's scripts may use the page's session at the API, whose authentication reads it (orders/api/authentication.py).
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = self.get_page = get_response
        self.page_views: list[Callable[..., HttpResponseBase | None]] = []
        for path in reversed(settings.PAGE_MIDDLEWARE):
            middleware = import_string(path)(self.get_page)
            # Django calls the hooks of MIDDLEWARE only. No page middleware has hooks for exceptions or templates.
            if hasattr(middleware, "process_view"):
                self.page_views.insert(0, middleware.process_view)
            self.get_page = convert_exception_to_response(middleware)

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request) if is_for_api(request) else self.get_page(request)

    def process_view(self, request: HttpRequest, view: Any, arguments: Any, named: dict[str, Any]) -> HttpResponseBase | None:
        if is_for_api(request):
            return None
        answers = (process_view(request, view, arguments, named) for process_view in self.page_views)
        return next((answer for answer in answers if answer is not None), None)


class NamedHostMiddleware(CommonMiddleware):
    """Refuses requests for other hosts than ours (ALLOWED_HOSTS), except probes, which use a machine's own address."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path in PROBES else super().process_request(request)


class DatabaseUnavailableMiddleware:
    """Limits how long a request waits for the database, and outside the API answers 503 when the database is unavailable.

    It also answers 503 when an order cannot be accepted because the server's clock is wrong. A response that is streamed from
    the database cannot become a 503 once begun: it breaks off, and the server omits the final chunk.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        is_admin = request.path.startswith("/admin/")
        limit_s = settings.DATABASE_TIMEOUT_ADMIN if is_admin else settings.DATABASE_TIMEOUT
        with query_timeout(limit_s):
            response = self.get_response(request)
        # Files do not need the database, and servers send them in their own ways.
        if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
            # All views are synchronous, so their content is a plain iterator.
            content = cast("Iterator[bytes]", response.streaming_content)
            response.streaming_content = each_within_query_timeout(limit_s, content)
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, ClockWrong):
            return clock_wrong(error)
        if not isinstance(error, DatabaseUnavailable):
            return None
        return database_unavailable(request, error)
