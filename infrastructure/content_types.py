"""Removes content types that Django fails on: it parses their parameters before any middleware can answer."""

from collections.abc import Callable, Iterable
from typing import Any

from django.utils.http import parse_header_parameters

# Where FormMiddleware finds a content type that was removed.
REFUSED = "lemon_market.refused_content_type"
URL_ENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
UTF_8 = {"utf-8", "utf8"}

Environment = dict[str, Any]
Application = Callable[[Environment, Any], Iterable[bytes]]


def readable_content_types(application: Application) -> Application:
    def answer(environment: Environment, start_response: Any) -> Iterable[bytes]:
        given = environment.get("CONTENT_TYPE", "")
        readable = readable_content_type(given)
        environment["CONTENT_TYPE"] = readable or ""
        if readable is None:
            environment[REFUSED] = given
        return application(environment, start_response)

    return answer


def readable_content_type(given: str) -> str | None:
    """The content type without unneeded parameters; None if it cannot be parsed, or is of a form that is not in UTF-8."""
    if ";" not in given:
        return given
    try:
        kind, parameters = parse_header_parameters(given)
    except (LookupError, ValueError):
        return None
    if kind in {URL_ENCODED, MULTIPART} and parameters.get("charset", "utf-8").lower() not in UTF_8:
        return None
    # For anything but a form, Django would decode the query string with that charset.
    return given if kind == MULTIPART else kind
