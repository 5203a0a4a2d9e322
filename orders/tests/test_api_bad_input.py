"""Whatever is wrong with a request, the answer names it and nothing is stored."""

import gzip
import json
from typing import Any

import pytest
from rest_framework.exceptions import ValidationError

from orders.api.parsing import without_repeated_names
from testsupport.api_calls import LIMIT, MARKET, NOTHING, client_for, post, stored

REQUIRED = {name: ["This field is required."] for name in ("type", "side", "instrument", "quantity")}
PRICE_TOO_LONG = "Ensure that there are no more than 17 digits before the decimal point."
PRICE_TOO_EXACT = "Ensure that there are no more than 19 digits in total."
NOT_A_NUMBER = "A valid number is required."
NOT_WHOLE = "This must be a whole number."
INSTRUMENT = "Exactly 12 characters: letters, digits and . _ - (an ISIN has 12)."
OWN_ID = "1 to 64 printable ASCII characters, without a space at either end."
NOT_A_TIME = "This must be a string such as 2030-01-31T15:30:00Z."
NO_OFFSET = "The offset from UTC is missing: write 2030-01-31T15:30:00Z."
BAD_TIME = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
NOT_NULL = "This field may not be null."
OUT_OF_RANGE = "Datetime value out of range."
NO_FIELD = "There is no such field. The fields are: client_order_id, type, side, instrument, limit_price, quantity, expires_at."

# Field -> the value as it stands in the JSON text -> the whole error.
BAD_VALUES: dict[str, dict[str, str]] = {
    "type": {
        **dict.fromkeys(
            ['"stop"', '"Market"', '" market"', '""', "1", "true", '["market"]', '{"a": 1}'], "This must be market or limit."
        ),
        "null": NOT_NULL,
    },
    "side": {**dict.fromkeys(['"hold"', '"BUY"', '""', "0", "[]", r'"\ud800"'], "This must be buy or sell."), "null": NOT_NULL},
    "instrument": {
        **dict.fromkeys(['"NVDA_2025_3"', '"NVDA_2025_030"', '"AAPL 2025_03"', '" AAPL_2025_3"', r'"AAPL_2025_0\n"'], INSTRUMENT),
        **dict.fromkeys(
            [r'"A\u0131PL_2025_03"', r'"A\u017fPL_2025_03"', r'"A\u00dfL_2025_03"', r'"\u0131APL_2025_03"'], INSTRUMENT
        ),
        **dict.fromkeys(
            [r'"AAPL\u00002025_0"', r'"AAPL_2025_0\ud83d"', '"AAPL_2025_0😀"', '"AAPL_2025_0é"', '"_APL_2025_03"'], INSTRUMENT
        ),
        **dict.fromkeys(["123456789012", "true", '["AAPL_2025_03"]', "{}"], "This must be a string."),
        '""': "This field may not be blank.",
        "null": NOT_NULL,
    },
    "quantity": {
        **dict.fromkeys(
            ['"100"', "100.0", "1e2", "1.5", "true", "false", "[1]", "{}", "NaN", "Infinity", "-Infinity", '""'], NOT_WHOLE
        ),
        **dict.fromkeys(["1e400", "1e99999999999999999999", "1" + "0" * 5000], NOT_WHOLE),
        **dict.fromkeys(["0", "-1", "-0"], "Ensure this value is greater than or equal to 1."),
        **dict.fromkeys([str(2**31), "1" + "0" * 30], "Ensure this value is less than or equal to 2147483647."),
        "null": NOT_NULL,
    },
    "limit_price": {
        **dict.fromkeys(
            ["NaN", "Infinity", "-Infinity", '"NaN"', '"Infinity"', '"-1"', '"1e2"', '"1,5"', '" 1"', '"abc"'], NOT_A_NUMBER
        ),
        **dict.fromkeys(
            ["true", "[1]", "{}", '"\uff11"', r'"1\u0000"', "1e99999999999999999999", '"' + "1" * 5000 + '"'], NOT_A_NUMBER
        ),
        **dict.fromkeys(["0", "0.00", "-0.01", "-1", '"0"'], "Ensure this value is greater than or equal to 0.01."),
        **dict.fromkeys(["1.005", "250.500", '"0.001"'], "Ensure that there are no more than 2 decimal places."),
        **dict.fromkeys(["123456789012345678", '"123456789012345678.0"', "1e17"], PRICE_TOO_LONG),
        **dict.fromkeys(["12345678901234567890", '"123456789012345678.00"', "1e400", "1e-400"], PRICE_TOO_EXACT),
        "1" + "0" * 5000: "String value too large.",
        **dict.fromkeys(['""', '" "'], NOT_A_NUMBER),
        "null": "A limit order needs a limit price.",
    },
    "client_order_id": {
        **dict.fromkeys(
            ['" a"', '"a "', r'"a\tb"', r'"a\u0000"', '"é"', '"😀"', r'"\udc00"', r'"a\u007f"', f'"{"x" * 65}"'], OWN_ID
        ),
        **dict.fromkeys(["7", "1.5", "true", "[]", "{}"], "This must be a string."),
        '""': "This field may not be blank.",
        "null": NOT_NULL,
    },
    "expires_at": {
        **dict.fromkeys(['"2030-01-31T15:30:00"', '"2030-01-31"'], NO_OFFSET),
        **dict.fromkeys(['"2020-01-31T15:30:00Z"', '"1000-01-01T00:00:00Z"', '"0001-01-01T00:00:00Z"'], "This time has passed."),
        **dict.fromkeys(['"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"'], OUT_OF_RANGE),
        **dict.fromkeys(['"tomorrow"', '"2030-02-31T00:00:00Z"', '"10000-01-01T00:00:00Z"', '""', r'"\u0000"'], BAD_TIME),
        **dict.fromkeys(["1896103800", "true", "[]", "{}", "NaN"], NOT_A_TIME),
    },
}
BODIES_THAT_ARE_NO_ORDER: dict[str, tuple[str | bytes, dict[str, Any]]] = {
    "nothing": ("", REQUIRED),
    "an empty object": ("{}", REQUIRED),
    "null": ("null", {"non_field_errors": ["No data provided"]}),
    "a list": (json.dumps([MARKET]), {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}),
    "a string": ('"buy"', {"non_field_errors": ["Invalid data. Expected a dictionary, but got str."]}),
    "a number": ("1", {"non_field_errors": ["Invalid data. Expected a dictionary, but got int."]}),
    "a name twice": ('{"quantity": 1, "quantity": 2}', {"quantity": ["This field is given more than once."]}),
    "a name twice, deep inside": ('{"x": [{"y": 1, "y": 1}]}', {"y": ["This field is given more than once."]}),
    "half of a character as a name": (r'{"\ud800": 1}', {"\ud800": [NO_FIELD]}),
    "broken off": (
        '{"type": "market"',
        {"detail": "The request body is not JSON: Expecting ',' delimiter: line 1 column 18 (char 17)"},
    ),
    "two values": ("{} {}", {"detail": "The request body is not JSON: Extra data: line 1 column 4 (char 3)"}),
    "not UTF-8": (b'{"type": "\xff"}', {"detail": "The request body is not UTF-8."}),
    "gzip": (gzip.compress(json.dumps(MARKET).encode()), {"detail": "The request body is not UTF-8."}),
    "100,000 lists": ("[" * 100_000, {"detail": "The request body is nested too deeply."}),
    "100,000 objects": ('{"a":' * 100_000, {"detail": "The request body is nested too deeply."}),
}


@pytest.fixture
def client(account: Any) -> Any:
    return client_for(account)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [pytest.param(field, *case, id=f"{field}={case[0][:30]}") for field, cases in BAD_VALUES.items() for case in cases.items()],
)
def test_a_bad_value_is_refused_by_the_fields_name(client: Any, field: str, value: str, problem: str) -> None:
    terms = LIMIT if field == "limit_price" else MARKET
    rest = json.dumps({name: term for name, term in terms.items() if name != field})[:-1]
    answer = post(client, f'{rest}, "{field}": {value}}}')
    assert (answer.status_code, answer.json()) == (400, {field: [problem]})
    assert stored() == NOTHING


def test_a_market_orders_price_may_be_null_and_not_blank(client: Any) -> None:
    answer = post(client, MARKET | {"limit_price": ""})
    assert (answer.status_code, answer.json()) == (400, {"limit_price": [NOT_A_NUMBER]})
    assert stored() == NOTHING
    assert post(client, MARKET | {"limit_price": None}).status_code == 202


@pytest.mark.parametrize("field", ["type", "side", "instrument", "quantity"])
def test_a_missing_field_is_named(client: Any, field: str) -> None:
    answer = post(client, {name: value for name, value in MARKET.items() if name != field})
    assert (answer.status_code, answer.json()) == (400, {field: ["This field is required."]})
    assert stored() == NOTHING


def test_every_field_that_is_wrong_is_named_at_once(client: Any) -> None:
    answer = post(
        client, {"type": "stop", "side": "hold", "instrument": "X", "quantity": 0, "limit_price": -1, "expires_at": "x"}
    )
    assert answer.status_code == 400
    assert set(answer.json()) == {"type", "side", "instrument", "quantity", "limit_price", "expires_at"}
    assert stored() == NOTHING


@pytest.mark.parametrize("name", ["id", "status", "account", "limitprice", "Quantity", "", " quantity", "é", "😀"])
def test_an_unknown_or_misspelt_field_is_refused(client: Any, name: str) -> None:
    answer = post(client, MARKET | {name: 1})
    assert (answer.status_code, answer.json()) == (400, {name: [NO_FIELD]})
    assert stored() == NOTHING


def test_an_error_does_not_repeat_a_huge_name(client: Any) -> None:
    answer = post(client, MARKET | {"x" * 100_000: 1})
    assert (answer.status_code, answer.json()) == (400, {"x" * 100: [NO_FIELD]})


def test_thousands_of_unknown_fields_are_refused_with_a_few_of_them(client: Any) -> None:
    answer = post(client, dict.fromkeys(map(str, range(50_000)), 0))
    assert (answer.status_code, len(answer.json())) == (400, 20)


def test_thousands_of_repeated_names_are_refused_with_a_few_of_them(client: Any) -> None:
    names = ",".join(f'"{number}":0' for number in range(40_000))
    answer = post(client, f"{{{names},{names}}}")
    assert (answer.status_code, len(answer.json())) == (400, 20)


class Name(str):
    """Counts how often names are compared with one another."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)


def test_repeated_names_are_found_without_comparing_each_with_all_others() -> None:
    """40,000 of them, which fit into one body, took a minute that way."""
    names = [Name(number) for number in range(1000)] * 2
    Name.compared = 0
    with pytest.raises(ValidationError):
        without_repeated_names([(name, 0) for name in names])
    assert Name.compared < 10 * len(names)


@pytest.mark.parametrize("body", BODIES_THAT_ARE_NO_ORDER)
def test_a_body_that_is_no_order_is_refused_with_the_reason(client: Any, body: str) -> None:
    raw, problem = BODIES_THAT_ARE_NO_ORDER[body]
    answer = post(client, raw)
    assert (answer.status_code, answer.json()) == (400, problem)
    assert stored() == NOTHING


def test_a_byte_order_mark_is_refused(client: Any) -> None:
    answer = post(client, "\ufeff" + json.dumps(MARKET))
    assert answer.status_code == 400
    assert "BOM" in answer.json()["detail"]
    assert stored() == NOTHING


def test_no_depth_of_nesting_breaks_anything(client: Any) -> None:
    # Around Python's limit a value can be read and then be too deep for what comes after it.
    for depth in range(900, 1001):
        answer = post(client, '{"type": %s}' % ("[" * depth + "]" * depth))
        assert answer.status_code == 400
        assert answer.json().keys() <= {"type", "side", "instrument", "quantity", "detail"}


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "x"]
)
def test_any_other_content_type_is_refused(client: Any, content_type: str) -> None:
    answer = client.generic("POST", "/orders", json.dumps(MARKET), content_type=content_type)
    assert answer.status_code == 415
    assert answer.json()["detail"].startswith("Unsupported media type")
    assert stored() == NOTHING


def test_a_missing_content_type_is_refused(client: Any) -> None:
    answer = client.generic("POST", "/orders", json.dumps(MARKET), content_type="")
    assert answer.status_code == 415
    assert stored() == NOTHING


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;charset=latin-1"]
)
def test_json_is_json_whatever_parameters_its_type_has(client: Any, content_type: str) -> None:
    answer = client.generic("POST", "/orders", json.dumps(MARKET), content_type=content_type)
    assert answer.status_code == 202


def test_a_body_of_10_mb_is_refused_without_being_read(client: Any) -> None:
    body = json.dumps(MARKET | {"client_order_id": "x" * 10_000_000})
    answer = post(client, body)
    assert answer.status_code == 413
    assert answer.json() == {"detail": "The request body is larger than 1048576 bytes."}
    assert stored() == NOTHING


@pytest.mark.parametrize(("spaces", "status"), [(1_048_576, 202), (1_048_577, 413)])
def test_the_limit_of_a_body_is_exact(client: Any, spaces: int, status: int) -> None:
    assert post(client, json.dumps(MARKET).rjust(spaces)).status_code == status


def test_a_body_of_unknown_length_is_refused_by_that_reason(client: Any) -> None:
    answer = client.generic("POST", "/orders", "", content_type="application/json", headers={"Transfer-Encoding": "chunked"})
    assert answer.status_code == 411
    assert "Content-Length" in answer.json()["detail"]
    assert stored() == NOTHING


def test_an_answer_in_another_format_than_json_is_not_to_be_had(client: Any) -> None:
    answer = post(client, MARKET, Accept="text/html")
    assert answer.status_code == 406
    assert stored() == NOTHING


def test_half_of_a_character_is_told_escaped(client: Any) -> None:
    answer = post(client, r'{"\ud800é": 1}')
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.content.isascii()
