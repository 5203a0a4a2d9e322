import json
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.parsers import JSONParser


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_large"


class StrictJSONParser(JSONParser):
    """JSON (RFC 8259) read without losing anything.

    Numbers with a fraction become Decimal, since a float would round a price in silence; a name that stands twice in an
    object is refused instead of one of the two winning; NaN and Infinity are kept for the field's own error.
    """

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        body = stream.read(settings.MAX_BODY_BYTES + 1)
        if len(body) > settings.MAX_BODY_BYTES:
            raise BodyTooLarge(f"The request body is larger than {settings.MAX_BODY_BYTES} bytes.")
        try:
            return json.loads(body.decode(), parse_float=Decimal, parse_int=whole_number, object_pairs_hook=without_repeated_names)
        except UnicodeDecodeError:
            raise ParseError("The request body is not UTF-8.") from None
        except RecursionError:
            raise ParseError("The request body is nested too deeply.") from None
        except ValueError as error:
            raise ParseError(f"The request body is not JSON: {error}") from None


def whole_number(text: str) -> int | Decimal:
    # int() refuses thousands of digits with an error that names no field; a Decimal gets as far as the field's own check.
    return int(text) if len(text) <= 40 else Decimal(text)


def without_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        given = [name for name, _ in pairs]
        raise ValidationError({name[:100]: ["This field is given more than once."] for name in names if given.count(name) > 1})
    return names
