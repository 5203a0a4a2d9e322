"""HttpGateway against servers that answer a look-up or a cancel oddly, over real sockets."""

import json
from decimal import Decimal

import pytest

from exchange.gateway import CancelRequested, CancelTooLate, Contradiction, Found, NotFound, TermsConflict, Unavailable, Unknown
from exchange.tests.scenery import HTML, ORDER, cancel_and_get, http_answer, json_answer, look_up_and_get

CONTRADICTIONS = {
    "an unknown status": ORDER | {"status": "perhaps"},
    "no status": {name: value for name, value in ORDER.items() if name != "status"},
    "more filled than ordered": ORDER | {"filled_quantity": 11},
    "filled with less than ordered": ORDER | {"status": "filled"},
    "a negative quantity": ORDER | {"filled_quantity": -1},
    "a fractional quantity": ORDER | {"filled_quantity": 1.5},
    "true as quantity": ORDER | {"filled_quantity": True},
    "filled without a price": ORDER | {"average_price": None},
    "filled for nothing": ORDER | {"average_price": "0"},
    "a price that is no number": ORDER | {"average_price": "NaN"},
    "a negative price": ORDER | {"average_price": "-1"},
    "a price as JSON number": ORDER | {"average_price": 12.5},
    "no session": ORDER | {"session_id": None},
    "no sequence": ORDER | {"last_sequence": None},
    "a term that is no price": ORDER | {"limit_price": "cheap"},
}
UNBELIEVABLE_LOOK_UPS = {
    "a proxy's 404": http_answer("404 Not Found", HTML),
    "404 without a body": http_answer("404 Not Found"),
    "404 without a reason": json_answer("404 Not Found", {"detail": "Not found."}),
    "404 about another order": json_answer("404 Not Found", {"reason": "gone", "client_order_id": "other"}),
    "another order's id": json_answer("200 OK", ORDER | {"client_order_id": "other"}),
    "no id": json_answer("200 OK", {name: value for name, value in ORDER.items() if name != "client_order_id"}),
    "a failure": json_answer("500 Internal Server Error", {"reason": "oops"}),
    "unavailable": json_answer("503 Service Unavailable", {"placed": False, "reason": "oops"}),
    "a redirect": json_answer("302 Found", ORDER, "Location: /"),
}


@pytest.mark.parametrize("answer", UNBELIEVABLE_LOOK_UPS.values(), ids=UNBELIEVABLE_LOOK_UPS)
async def test_an_unbelievable_answer_to_a_look_up_is_unknown(answer):
    assert isinstance(await look_up_and_get(answer), Unknown)


@pytest.mark.parametrize("document", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
async def test_an_answer_about_the_order_that_cannot_be_true_is_kept_and_proves_nothing(document):
    outcome = await look_up_and_get(json_answer("200 OK", document))
    assert isinstance(outcome, Contradiction)
    assert json.loads(outcome.raw) == document


async def test_a_look_up_gives_what_the_exchange_says():
    assert await look_up_and_get(json_answer("200 OK", ORDER)) == Found("X1", "new", 4, Decimal("12.5"), "S1", 9)


async def test_a_look_up_that_is_throttled_proves_nothing_and_says_when_to_ask_again():
    assert await look_up_and_get(http_answer("429 X", b"", "Retry-After: 2")) == Unavailable("status 429", 2.0)


@pytest.mark.parametrize(
    "term", [{"quantity": 11}, {"side": "sell"}, {"type": "limit"}, {"limit_price": "1"}, {"instrument": "MSFT_2025_03"}]
)
async def test_a_look_up_compares_the_terms_that_it_is_told(term):
    outcome = await look_up_and_get(json_answer("200 OK", ORDER | term))
    assert isinstance(outcome, TermsConflict)
    assert next(iter(term)) in outcome.reason


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (http_answer("202 Accepted"), CancelRequested()),
        (json_answer("404 Not Found", {"reason": "unknown"}), NotFound()),
        (json_answer("409 Conflict", {"reason": "filled"}), CancelTooLate("filled")),
        (http_answer("429 X", b"", "Retry-After: 2"), Unavailable("status 429", 2.0)),
        (json_answer("503 X", {"reason": "busy"}), Unavailable("busy")),
    ],
)
async def test_a_believable_answer_to_a_cancel_is_what_it_says(answer, expected):
    assert await cancel_and_get(answer) == expected


@pytest.mark.parametrize("answer", [http_answer("404 X", HTML), http_answer("409 X", HTML), http_answer("200 OK"), b""])
async def test_an_unbelievable_answer_to_a_cancel_is_unknown(answer):
    assert isinstance(await cancel_and_get(answer), Unknown)
