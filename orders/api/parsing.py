import json
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import IO, Any

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import JSONParser


class StrictJSONParser(JSONParser):
    """Reads JSON (RFC 8259) without losing anything.

    Numbers with a fraction become Decimal, since a float would silently round a price. An object with a repeated name is
    refused, since one of the values would be lost. NaN and Infinity are left to the field's own check.
    """

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        return parse_json(stream.read())


def parse_json(body: bytes) -> Any:
    """Raises ParseError, and ValidationError for a repeated name."""
    try:
        return json.loads(
            body.decode(),
            parse_float=exact_number,
            parse_int=whole_number,
            object_pairs_hook=without_repeated_names,
        )
    except UnicodeDecodeError:
        raise ParseError("The request body is not UTF-8.") from None
    except RecursionError:
        raise ParseError("The request body is nested too deeply.") from None
    except ValueError as error:
        raise ParseError(f"The request body is not JSON: {error}") from None


def exact_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # The exponent is too large for a Decimal; the field's own check refuses it, as it does NaN.
        return Decimal("NaN")


def whole_number(text: str) -> int | Decimal:
    # int() refuses thousands of digits with an error that names no field; a Decimal reaches the field's own check.
    return int(text) if len(text) <= 40 else Decimal(text)


def without_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        repeated = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
        raise ValidationError({name[:100]: ["This field is given more than once."] for name in repeated[:20]})
    return names
