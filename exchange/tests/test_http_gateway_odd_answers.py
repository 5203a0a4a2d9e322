"""HttpGateway against servers that answer a placement oddly, late, in part or not at all, over real sockets."""

import asyncio
import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.gateway import (
    Acknowledged,
    CancelOutcome,
    CancelTooLate,
    Found,
    LookUpOutcome,
    PlacementOutcome,
    Refused,
    TermsConflict,
    Unavailable,
    Unknown,
)
from exchange.http_gateway import MAX_BODY_BYTES, MAX_RETRY_AFTER_S, read_retry_after
from exchange.tests.scenery import (
    HTML,
    ID,
    ORDER,
    PLACEMENT,
    TAKEN,
    cancel_and_get,
    http_answer,
    json_answer,
    look_up_and_get,
    odd_exchange,
    open_http_gateway,
    place_and_get,
    read_request,
)

UNBELIEVABLE_PLACEMENTS = {
    "cut before the status line": b"",
    "cut in the status line": b"HTTP/1.",
    "cut in the headers": b"HTTP/1.1 201 Created\r\nContent-Le",
    "cut in the body": json_answer("201 Created", TAKEN)[:-5],
    "no HTTP": b"220 smtp.example.com ESMTP\r\n\r\n",
    "another order's id": json_answer("201 Created", TAKEN | {"client_order_id": "other"}),
    "no order's id": json_answer("201 Created", {"exchange_order_id": "X1"}),
    "our id as a number": json_answer("201 Created", TAKEN | {"client_order_id": 7}),
    "no exchange id": json_answer("201 Created", {"client_order_id": ID}),
    "an empty exchange id": json_answer("201 Created", TAKEN | {"exchange_order_id": ""}),
    "a number as exchange id": json_answer("201 Created", TAKEN | {"exchange_order_id": 5}),
    "an exchange id with NUL": json_answer("201 Created", TAKEN | {"exchange_order_id": "X\0"}),
    "an exchange id without end": json_answer("201 Created", TAKEN | {"exchange_order_id": "X" * 65}),
    "a list": json_answer("201 Created", [TAKEN]),
    "no JSON": http_answer("200 OK", HTML),
    "no body": http_answer("201 Created"),
    "a compressed body": http_answer("201 Created", gzip.compress(orjson.dumps(TAKEN)), "Content-Encoding: gzip"),
    "a body over the limit": json_answer("201 Created", TAKEN | {"status": "x" * MAX_BODY_BYTES}),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "accepted": json_answer("202 Accepted", TAKEN),
    "a redirect": json_answer("307 Temporary Redirect", TAKEN, "Location: /elsewhere"),
    "another redirect": json_answer("303 See Other", TAKEN, "Location: /orders/1"),
    "a bad request": json_answer("400 Bad Request", {"reason": "what is this"}),
    "not found": json_answer("404 Not Found", {"reason": "no such page"}),
    "a failure": json_answer("500 Internal Server Error", {"reason": "oops"}),
    "a bad gateway": http_answer("502 Bad Gateway", HTML),
    "a proxy's 503": http_answer("503 Service Unavailable", HTML),
    "503 that does not say not placed": json_answer("503 Service Unavailable", {"reason": "busy"}),
    "503 placed": json_answer("503 Service Unavailable", {"placed": True}),
    "503 placed null": json_answer("503 Service Unavailable", {"placed": None}),
    "503 placed 0": json_answer("503 Service Unavailable", {"placed": 0}),
    "503 about another order": json_answer("503 Service Unavailable", {"placed": False, "client_order_id": "other"}),
    "503 cut in the body": json_answer("503 Service Unavailable", {"placed": False})[:-1],
    "a proxy's 422": http_answer("422 Unprocessable Content", HTML),
    "422 without a reason": json_answer("422 Unprocessable Content", {}),
    "422 about another order": json_answer("422 Unprocessable Content", {"reason": "no", "client_order_id": "other"}),
    "a proxy's 409": http_answer("409 Conflict", HTML),
    "429 about another order": json_answer("429 Too Many Requests", {"client_order_id": "other"}),
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "a status nobody knows": json_answer("299 Whatever", TAKEN),
    "endless headers": b"HTTP/1.1 201 Created\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "two lengths": http_answer("201 Created", orjson.dumps(TAKEN), "Content-Length: 5"),
}


@pytest.mark.parametrize("answer", UNBELIEVABLE_PLACEMENTS.values(), ids=UNBELIEVABLE_PLACEMENTS)
async def test_an_unbelievable_answer_to_a_placement_is_unknown(answer):
    outcome = await place_and_get(answer)
    assert isinstance(outcome, Unknown)
    assert outcome.reason


BELIEVABLE_PLACEMENTS = {
    "created": (json_answer("201 Created", TAKEN), Acknowledged("X1")),
    "known already": (json_answer("200 OK", TAKEN), Acknowledged("X1")),
    "after a 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + json_answer("201 Created", TAKEN), Acknowledged("X1")),
    "with more than we know": (json_answer("201 Created", TAKEN | {"news": [1]}), Acknowledged("X1")),
    "refused": (json_answer("422 Unprocessable Content", {"reason": "no margin"}), Refused("no margin")),
    "a reason that cannot be stored": (json_answer("422 X", {"reason": "a\0b\u00e9\x1b[1m"}), Refused("a b\u00e9 [1m")),
    "a reason without end": (json_answer("422 X", {"reason": "x" * 9999}), Refused("x" * 500)),
    "conflict": (json_answer("409 Conflict", {"reason": "other terms"}), TermsConflict("other terms")),
    "not placed": (json_answer("503 X", {"placed": False, "reason": "closed"}), Unavailable("closed")),
    "not placed, no reason": (json_answer("503 X", {"placed": False}), Unavailable("status 503")),
    "not placed, later": (json_answer("503 X", {"placed": False}, "Retry-After: 3"), Unavailable("status 503", 3.0)),
    "throttled by anybody": (http_answer("429 Too Many Requests", HTML, "Retry-After: 7"), Unavailable("status 429", 7.0)),
    "throttled, cut in the body": (http_answer("429 X", HTML)[:-3], Unavailable("status 429")),
}


@pytest.mark.parametrize(("answer", "expected"), BELIEVABLE_PLACEMENTS.values(), ids=BELIEVABLE_PLACEMENTS)
async def test_a_believable_answer_to_a_placement_is_what_it_says(answer, expected):
    assert await place_and_get(answer) == expected


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 201 Created\r\nContent-", json_answer("201 Created", TAKEN)[:-5]],
    ids=["no answer", "slow headers", "slow body"],
)
async def test_an_answer_that_takes_too_long_is_unknown(answer):
    assert isinstance(await place_and_get(answer, timeout_s=1, then_hang=True), Unknown)


async def test_bytes_that_keep_trickling_do_not_extend_the_timeout():
    async def trickle(exchange, reader, writer):
        await read_request(exchange, reader)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 60000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with odd_exchange(trickle) as exchange, open_http_gateway(exchange.url, timeout_s=0.3) as gateway, asyncio.timeout(5):
        assert isinstance(await gateway.place(PLACEMENT), Unknown)


async def test_an_endless_body_is_given_up():
    async def flood(exchange, reader, writer):
        await read_request(exchange, reader)
        writer.write(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
            await writer.drain()

    async with odd_exchange(flood) as exchange, open_http_gateway(exchange.url, timeout_s=20) as gateway, asyncio.timeout(10):
        outcome = await gateway.place(PLACEMENT)
    assert isinstance(outcome, Unknown)
    assert "65536" in outcome.reason


NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("9" * 5000, MAX_RETRY_AFTER_S),
        ("86400", MAX_RETRY_AFTER_S),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        ("Sat, 01 Mar 2025 12:00:30 -0000", 30.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_S),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after_is_a_delay_or_a_date_within_bounds(header, expected):
    assert read_retry_after(header, NOW) == expected


# A shared computer may be slow at any one example.
@settings(deadline=None)
@given(st.text())
def test_any_retry_after_is_within_bounds_or_none(header):
    delay_s = read_retry_after(header, NOW)
    assert delay_s is None or 0 <= delay_s <= MAX_RETRY_AFTER_S


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MUTATIONS = st.dictionaries(st.sampled_from([*ORDER, "reason", "placed", "limit_price", "quantity"]), JSON, min_size=1)


@settings(deadline=None)
@given(st.sampled_from([200, 201, 204, 404, 409, 422, 429, 500, 503]), MUTATIONS, st.booleans())
def test_no_answer_of_any_shape_makes_a_gateway_raise(status, mutations, is_whole):
    """Whatever stands in the fields of an answer, only values of the right type come out."""
    answer = json_answer(f"{status} X", ORDER | mutations)[: None if is_whole else -2]

    async def ask() -> tuple[PlacementOutcome, LookUpOutcome, CancelOutcome]:
        return await place_and_get(answer), await look_up_and_get(answer), await cancel_and_get(answer)

    placed, found, cancelled = asyncio.run(ask())
    if isinstance(placed, Acknowledged):
        assert type(placed.exchange_order_id) is str
    if isinstance(found, Found):
        assert type(found.filled_quantity) is type(found.last_sequence) is int
        assert found.average_price is None or found.average_price >= 0
    if isinstance(cancelled, CancelTooLate):
        assert cancelled.reason.isprintable()
