"""A plain request is answered before Django REST framework sees it: by the same rules, and in the same words."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from knox.models import AuthToken
from rest_framework.serializers import ModelSerializer
from rest_framework.test import APIClient

from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.throttling import counter
from orders.api import short_way
from orders.api.serializers import OrderSerializer, represented
from orders.models import AccountLimits, Halt, Order
from testsupport.api_calls import LIMIT, MARKET, post, stored, token_for

LONG_S = 3600.0
LATER = "2030-01-31T15:30:00Z"
ODD_TEXT = '{"type":"market","side":"buy","instrument":"AAPL_2025_03","quantity":1'
Answer = tuple[int, dict[str, str], Any]


class BothWays:
    """Two accounts alike; the token of one is remembered, so that its requests may take the short way."""

    def __init__(self) -> None:
        self.accounts = [User.objects.create_user(name) for name in ("short", "long")]
        self.tokens = [token_for(account) for account in self.accounts]
        self.clients = [APIClient(HTTP_AUTHORIZATION=f"Token {token}") for token in self.tokens]
        self.answered = 0
        with override_settings(TOKEN_REMEMBERED=LONG_S):
            assert self.clients[0].get("/orders").status_code == 200

    def post(self, body: Any, **headers: str) -> list[Answer]:
        """What both are answered, without what is another each time."""
        with override_settings(TOKEN_REMEMBERED=LONG_S):
            short = self.answer(self.clients[0], body, headers)
        with override_settings(TOKEN_REMEMBERED=0.0):
            return [short, self.answer(self.clients[1], body, headers)]

    def answer(self, client: APIClient, body: Any, headers: dict[str, str]) -> Answer:
        content_type = headers.get("Content-Type", "application/json")
        others = {name: value for name, value in headers.items() if name != "Content-Type"}
        raw = body if isinstance(body, str | bytes) else json.dumps(body)
        answer = client.post("/orders", raw, content_type=content_type, headers=others)
        ids_and_times = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|20[0-9-]{8}T[0-9:.]+Z")
        told = {name: ids_and_times.sub("?", value) for name, value in answer.headers.items() if name != "X-Request-ID"}
        # A session that a page might have had is not looked for on the short way.
        told.pop("Vary", None)
        return answer.status_code, told, json.loads(ids_and_times.sub("?", answer.content.decode()))

    @contextmanager
    def takes_short_way(self, times: int) -> Iterator[None]:
        before = self.answered
        yield
        assert self.answered - before == times


@pytest.fixture
def ways(db: None, monkeypatch: pytest.MonkeyPatch) -> BothWays:
    both = BothWays()
    accepted_at_once = short_way.accepted_at_once

    def watched(request: Any) -> Any:
        answer = accepted_at_once(request)
        both.answered += answer is not None
        return answer

    monkeypatch.setattr(short_way, "accepted_at_once", watched)
    return both


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (MARKET, {}),
        (LIMIT, {}),
        (LIMIT | {"limit_price": 250.5}, {}),
        (LIMIT | {"limit_price": 7}, {}),
        (LIMIT | {"expires_at": LATER, "client_order_id": "c1"}, {}),
        (MARKET | {"limit_price": None, "expires_at": None}, {}),
        (MARKET, {"Idempotency-Key": "c1"}),
        (MARKET | {"client_order_id": "c1"}, {"Idempotency-Key": "c1"}),
        (MARKET, {"Accept": "application/json"}),
        (MARKET, {"Accept": "*/*"}),
        (MARKET, {"X-Request-ID": "mine"}),
    ],
    ids=str,
)
def test_a_plain_order_is_accepted_in_the_same_words(ways: BothWays, body: Any, headers: dict[str, str]) -> None:
    with ways.takes_short_way(1):
        short, long = ways.post(body, **headers)
    assert short[0] == 202
    assert short == long
    assert stored()["orders"] == 2
    assert stored()["events"] == 2
    one, other = Order.objects.values().order_by("id")
    for name in ("id", "account_id", "client_order_id", "created_at", "updated_at", "next_attempt_at", "give_up_at"):
        del one[name], other[name]
    assert one == other


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (MARKET | {"limit_price": "1.00"}, {}),
        (MARKET | {"quantity": 0}, {}),
        (MARKET | {"quantity": "1"}, {}),
        (MARKET | {"expires_at": "2020-01-31T15:30:00Z"}, {}),
        (MARKET | {"colour": "red"}, {}),
        (MARKET | {"client_order_id": "c2"}, {"Idempotency-Key": "c1"}),
        (MARKET, {"Idempotency-Key": ""}),
        ([MARKET], {}),
        ("", {}),
        ("null", {}),
        ("7", {}),
        (ODD_TEXT, {}),
        (ODD_TEXT + ',"quantity":2}', {}),
        (ODD_TEXT + ',"limit_price":NaN}', {}),
        (b'{"type": "\xff"}', {}),
        (" " * 1024 * 1024 + "{}", {}),
        (MARKET, {"Content-Type": "text/plain"}),
        (MARKET, {"Content-Type": "application/json; charset=latin-1"}),
        (MARKET, {"Accept": "text/html"}),
        (MARKET, {"Accept": "text/html, */*;q=0.1"}),
        (MARKET, {"Transfer-Encoding": "chunked"}),
        (MARKET, {"Authorization": "Token wrong"}),
        (MARKET, {"Authorization": "Bearer wrong"}),
        (MARKET, {"Authorization": "Token ä"}),
        (MARKET, {"Authorization": ""}),
    ],
    ids=lambda value: str(value)[:60].strip(),
)
def test_whatever_is_odd_is_left_to_the_viewset(ways: BothWays, body: Any, headers: dict[str, str]) -> None:
    with ways.takes_short_way(0):
        short, long = ways.post(body, **headers)
    assert short == long


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=13),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
# Mostly as they should be, so that one odd field is met among good ones.
ORDERS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["market", "limit"]) | JSON,
        "side": st.sampled_from(["buy", "sell"]) | JSON,
        "instrument": st.just("AAPL_2025_03") | JSON,
        "quantity": st.integers(1, 100) | JSON,
    },
    optional={
        "limit_price": st.decimals(0, 1000, places=2).map(str) | st.just("250.50") | JSON,
        "expires_at": st.just(LATER) | JSON,
        "client_order_id": st.text("abc", min_size=1, max_size=2) | JSON,
        "colour": JSON,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=ORDERS | JSON)
def test_no_body_is_answered_in_two_ways(ways: BothWays, body: Any) -> None:
    short, long = ways.post(body)
    assert short == long


@pytest.mark.parametrize("what", ["a repeat", "other terms", "a halt", "a limit", "a limit kept"])
def test_what_stands_in_the_way_of_an_order_is_told_by_the_viewset(ways: BothWays, what: str) -> None:
    terms = MARKET | {"client_order_id": "c1"}
    if what in ("a repeat", "other terms"):
        ways.post(terms)
    if what == "a halt":
        Halt.objects.create(instrument=MARKET["instrument"], started_by="x", reason="x")
    if what.startswith("a limit"):
        quantity = 1 if what == "a limit" else 1000
        AccountLimits.objects.bulk_create(AccountLimits(account=one, max_quantity=quantity) for one in ways.accounts)
    with ways.takes_short_way(0):
        short, long = ways.post(terms | ({"side": "sell"} if what == "other terms" else {}))
    assert short == long
    assert short[0] == {"a repeat": 200, "other terms": 409, "a halt": 422, "a limit": 422, "a limit kept": 202}[what]


def test_two_of_one_id_at_the_same_moment_are_one_order(ways: BothWays, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(*_arguments: Any) -> None:
        raise IntegrityError("one_order_per_client_order_id")

    monkeypatch.setattr(short_way, "store_at_once", too_late)
    with ways.takes_short_way(0):
        assert [status for status, *_ in ways.post(MARKET | {"client_order_id": "c1"})] == [202, 202]


def test_without_the_database_the_answer_is_the_same(ways: BothWays, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise DatabaseUnavailable("the server closed the connection")

    monkeypatch.setattr(short_way, "store_at_once", fail)
    monkeypatch.setattr("orders.order_entry.service.store_at_once", fail)
    with ways.takes_short_way(1):
        (status, headers, told), (long_status, long_headers, long_told) = ways.post(MARKET)
    assert (status, told, headers["Retry-After"]) == (503, long_told, "1")
    assert (long_status, long_headers["Retry-After"]) == (503, "1")


def counted(account: User) -> int:
    return sum(count.known + count.own for (_, who), count in counter.counts.items() if who == str(account.pk))


def test_a_request_is_counted_once_whichever_way_it_takes(ways: BothWays) -> None:
    before = [counted(account) for account in ways.accounts]
    for body in (MARKET, MARKET | {"client_order_id": "c1"}, MARKET | {"client_order_id": "c1"}, MARKET | {"quantity": 0}):
        ways.post(body)
    # The first request of a client, which made its token known, was a GET.
    assert [counted(account) - earlier for account, earlier in zip(ways.accounts, before, strict=True)] == [4, 4]


def test_an_account_that_asks_too_often_is_refused(ways: BothWays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infrastructure.throttling.time", lambda: 5_000_000_000.0)
    with override_settings(ACCOUNT_REQUESTS_PER_SECOND=1):
        answers = [ways.post(MARKET) for _ in range(11)]
    assert [[status for status, *_ in both] for both in answers] == [[202, 202]] * 10 + [[429, 429]]
    assert answers[-1][0] == answers[-1][1]


def test_a_remembered_token_ends_when_it_ends(ways: BothWays, monkeypatch: pytest.MonkeyPatch) -> None:
    AuthToken.objects.update(expiry=timezone.now() + timedelta(days=1))
    with override_settings(TOKEN_REMEMBERED=0.0):
        assert ways.clients[0].get("/orders").status_code == 200
    assert ways.post(MARKET)[0][0] == 202
    now = timezone.now() + timedelta(days=2)
    monkeypatch.setattr("django.utils.timezone.now", lambda: now)
    assert [status for status, *_ in ways.post(MARKET)] == [401, 401]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"limit_price": Decimal("250.5"), "expires_at": datetime(2030, 1, 1, 1, 2, 3, 4, tzinfo=UTC)},
        {"limit_price": Decimal("12345678901234567.89"), "average_price": Decimal("0.1"), "filled_quantity": 3},
        {"average_price": Decimal("1E2"), "placed_at": datetime(2030, 1, 1, tzinfo=UTC), "exchange_order_id": "x-1"},
        {"error_code": "internal_error", "error_message": "why, ä", "status": "error", "execution_status": "new"},
        {"cancel_requested_at": datetime(2030, 1, 1, tzinfo=UTC), "next_attempt_at": None, "attempt_count": 7},
    ],
    ids=str,
)
def test_an_order_is_shown_as_the_serializers_fields_would_show_it(ways: BothWays, changes: dict[str, Any]) -> None:
    ways.post(LIMIT)
    order = Order.objects.earliest("id")
    for name, value in changes.items():
        setattr(order, name, value)
    by_fields = ModelSerializer.to_representation(OrderSerializer(), order)
    assert json.dumps(represented(order)) == json.dumps(by_fields)


def test_a_column_that_the_next_release_has_added_is_left_to_its_default(ways: BothWays) -> None:
    """Such a release migrates while this one is at work (docs/operations.md)."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE orders_order ADD COLUMN venue text NOT NULL DEFAULT 'xetra'")
    with ways.takes_short_way(1):
        assert [status for status, _, _ in ways.post(MARKET)] == [202, 202]
    assert post(ways.clients[0], [MARKET, LIMIT], "/orders/batch").status_code == 202
    with connection.cursor() as cursor:
        cursor.execute("SELECT array_agg(venue) FROM orders_order")
        assert cursor.fetchone() == (["xetra"] * 4,)
