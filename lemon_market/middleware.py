from collections.abc import Callable

import structlog
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse

from orders.api.errors import DATABASE_AWAY

log = structlog.get_logger()


class DatabaseUnavailableMiddleware:
    """Answers 503 instead of a stack trace wherever outside the API the database is found to be away."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        log.warning("database_away", doing="request", path=request.path, error=str(error))
        return JsonResponse({"detail": DATABASE_AWAY}, status=503, headers={"Retry-After": "1"})
