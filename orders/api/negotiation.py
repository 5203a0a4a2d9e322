"""How a request and its answer agree on JSON, which is all that this API takes and gives."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

ANYTHING = "*/*"


class UsualNegotiation(DefaultContentNegotiation):
    """REST framework's rules, which nearly all requests need none of: their headers name the usual type as it is.

    To find that out it would parse both headers, the query, and the names of all other headers.
    """

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        usual = parsers[0]
        return usual if request.META.get("CONTENT_TYPE") == usual.media_type else super().select_parser(request, parsers)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[BaseRenderer, str]:
        usual = renderers[0]
        if format_suffix is None and request.META.get("HTTP_ACCEPT", ANYTHING) in (ANYTHING, usual.media_type):
            return usual, usual.media_type
        negotiated: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
        return negotiated


class FastJSONRenderer(JSONRenderer):
    """Written by orjson, unless the client asks for an indent."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is not None and accepted_media_type == self.media_type:
            # It knows no halves of characters, as JSON from a client may hold, and no decimals.
            with suppress(TypeError):
                return orjson.dumps(data)
        return super().render(data, accepted_media_type, renderer_context)
