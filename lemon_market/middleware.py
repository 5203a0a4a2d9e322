from collections.abc import Callable

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse

from lemon_market.database.base import answers_within
from orders.api.errors import DATABASE_AWAY

log = structlog.get_logger()


class DatabaseUnavailableMiddleware:
    """Waits for the database only so long, and answers 503 wherever outside the API it is found to be away."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        is_admin = request.path.startswith("/admin/")
        with answers_within(settings.DATABASE_TIMEOUT_ADMIN if is_admin else settings.DATABASE_TIMEOUT):
            return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        log.warning("database_away", doing="request", path=request.path, error=str(error))
        return JsonResponse({"detail": DATABASE_AWAY}, status=503, headers={"Retry-After": "1"})
