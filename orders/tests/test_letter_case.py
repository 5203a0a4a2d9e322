"""An instrument is the same in any letter case: to halts, limits, last prices, replays, filters and searches."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from orders.instruments import ANY_CASE_PATTERN, INSTRUMENT_PATTERN, canonical_instrument
from orders.models import Halt, LastPrice, Order
from orders.order_entry.service import NewOrder
from orders.risk.limits import change_limits
from orders.risk.switches import halt_trading
from orders.tests.desk import LIST
from testsupport.api_calls import LIMIT, MARKET, client_for, post

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]
LOWER = MARKET | {"instrument": "aapl_2025_03"}
INSTRUMENT_HALTED = ["Trading in this instrument is halted."]


@pytest.fixture
def client(account: Any) -> Any:
    return client_for(account)


def halt() -> Halt:
    return halt_trading("dora", "odd prices", instrument="AAPL_2025_03")


@given(st.from_regex(ANY_CASE_PATTERN, fullmatch=True).map(lambda text: text.rstrip("\n")))
def test_the_canonical_form_is_an_instrument_and_its_own_canonical_form(text: str) -> None:
    canonical = canonical_instrument(text)
    assert canonical == canonical_instrument(canonical) == canonical_instrument(text.lower())
    assert re.fullmatch(INSTRUMENT_PATTERN, canonical)


@pytest.mark.parametrize(
    "text", ["A\u017fPL_2025_03", "A\u0131PL_2025_03", "A\u00dfL_2025_03", "\ufb00PL_2025_03", "AAPL_2025_03\n"]
)
def test_no_other_letter_becomes_part_of_an_instrument(text: str) -> None:
    with pytest.raises(ValueError, match="not an instrument"):
        canonical_instrument(text)
    with pytest.raises(ValueError, match="not an instrument"):
        NewOrder("market", "buy", text, 100)


@pytest.mark.parametrize("instrument", ["aapl_2025_03", "Aapl_2025_03", "AAPL_2025_03"])
@pytest.mark.parametrize("path", ["/orders", "/orders/batch"])
def test_an_order_is_stored_and_answered_in_upper_case(client: Any, path: str, instrument: str) -> None:
    order = MARKET | {"instrument": instrument}
    answer = post(client, [order] if path.endswith("batch") else order, path)
    assert answer.status_code == 202
    [told] = answer.json() if path.endswith("batch") else [answer.json()]
    assert (told["instrument"], Order.objects.get().instrument) == ("AAPL_2025_03", "AAPL_2025_03")


def test_a_halt_stops_the_instrument_in_every_letter_case(client: Any, account: Any) -> None:
    halt()
    answer = post(client, LOWER)
    assert (answer.status_code, answer.json()["instrument"]) == (422, INSTRUMENT_HALTED)
    batch = post(client, [LOWER, LIMIT], "/orders/batch")
    assert (batch.status_code, batch.json()["0"]["instrument"]) == (422, INSTRUMENT_HALTED)
    assert not Order.objects.exists()


def test_a_price_collar_holds_in_every_letter_case(client: Any, account: Any) -> None:
    change_limits(account, "dora", "trial", price_collar_percent=Decimal(5))
    LastPrice.objects.create(instrument="TSLA_2025_06", price=100, executed_at=timezone.now())
    answer = post(client, LIMIT | {"instrument": "tsla_2025_06", "limit_price": "110.00"})
    assert (answer.status_code, answer.json()["code"]) == (422, "price_collar")


@pytest.mark.parametrize(("first", "again"), [(LOWER, MARKET), (MARKET, LOWER)], ids=["lower first", "upper first"])
def test_a_replay_in_another_letter_case_is_the_same_order(client: Any, first: Any, again: Any) -> None:
    accepted = post(client, first | {"client_order_id": "c1"})
    replayed = post(client, again | {"client_order_id": "c1"})
    assert (replayed.status_code, replayed.json()) == (200, accepted.json())
    batch = post(client, [again | {"client_order_id": "c1"}], "/orders/batch")
    assert (batch.status_code, batch.json()) == (200, [accepted.json()])
    assert post(client, MARKET | {"client_order_id": "c1", "instrument": "aapl_2025_04"}).status_code == 409


@pytest.mark.parametrize("table", ["orders_order", "orders_halt", "orders_lastprice"])
def test_the_database_takes_nothing_in_lower_case(account: Any, accept: Accept, table: str) -> None:
    accept()
    halt()
    LastPrice.objects.create(instrument="AAPL_2025_03", price=1, executed_at=timezone.now())
    with (
        pytest.raises(IntegrityError, match=r'"(\w+_)?instrument_has_12_characters"'),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"UPDATE {table} SET instrument = 'aapl_2025_03'")


@pytest.mark.parametrize("term", ["aapl_2025_03", "AAPL_2025_03", "Aapl_2025_03"])
def test_filter_and_search_find_the_orders_of_every_letter_case(client: Any, accept: Accept, viewer: Client, term: str) -> None:
    orders = [accept(instrument="aapl_2025_03"), accept()]
    accept(instrument="TSLA_2025_06")
    expected = {str(order.id) for order in orders}
    assert {order["id"] for order in client.get("/orders", {"instrument": term}).json()["results"]} == expected
    found = viewer.get(LIST, {"q": term}).context["cl"].result_list
    assert {str(order.id) for order in found} == expected


@pytest.mark.parametrize("term", ["a\u0131pl_2025_03", "A\u017fPL_2025_03", "aapl_2025_0%"])
def test_a_filter_for_no_instrument_finds_nothing(client: Any, accept: Accept, term: str) -> None:
    accept()
    assert client.get("/orders", {"instrument": term}).json()["results"] == []
