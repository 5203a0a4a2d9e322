"""Content negotiation for an API that reads and writes only JSON."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

ANYTHING = "*/*"


class UsualNegotiation(DefaultContentNegotiation):
    """Handles the usual headers itself, and leaves all others to REST framework's rules.

    For each request those rules parse both headers, the query and the names of all other headers.
    """

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        usual = parsers[0]
        return usual if request.META.get("CONTENT_TYPE") == usual.media_type else super().select_parser(request, parsers)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        usual = renderers[0]
        if format_suffix is None and request.META.get("HTTP_ACCEPT", ANYTHING) in (ANYTHING, usual.media_type):
            return usual, usual.media_type
        return super().select_renderer(request, renderers, format_suffix)


class FastJSONRenderer(JSONRenderer):
    """Uses orjson, unless the client asks for an indent."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is not None and accepted_media_type == self.media_type:
            # orjson refuses decimals, and unpaired surrogates, which JSON from a client may contain.
            with suppress(TypeError):
                return orjson.dumps(data)
        return super().render(data, accepted_media_type, renderer_context)
