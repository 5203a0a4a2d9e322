from typing import Any

import structlog
from django.db import InterfaceError, OperationalError
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import exception_handler

log = structlog.get_logger()

DATABASE_AWAY = (
    "The database cannot be reached. If this request was to place an order, it may have been stored: "
    "repeat it with the same client_order_id, and it will be placed once."
)


class DatabaseAway(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = DATABASE_AWAY
    default_code = "database_away"
    wait = 1


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Django REST framework's shapes for everything, the absence of the database included."""
    if isinstance(error, OperationalError | InterfaceError):
        log.warning("database_away", doing="request", error=str(error))
        error = DatabaseAway()
    return exception_handler(error, context)
