"""An instrument is the same in any letter case: to halts, limits, last prices, replays, filters and searches."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from exchange.gateway import Unavailable
from exchange.reports import ReportType
from exchange.testing import SimulatorProcess
from orders.executions.reports import apply_reports
from orders.instruments import CANONICAL_INSTRUMENT, INSTRUMENT_PATTERN, canonical_instrument
from orders.models import Halt, LastPrice, Order
from orders.order_entry.service import NewOrder
from orders.placement.attempts import Result, claim_due_orders, record
from orders.placement.manual_retry import retry_orders
from orders.risk.limits import change_limits
from orders.risk.switches import halt_trading, release_orders, resume_trading
from orders.states import ExecutionStatus, Status
from orders.tests.desk import LIST, refuse
from orders.tests.reporting import report
from testsupport.api_calls import LIMIT, MARKET, client_for, post
from testsupport.placement import POLICY, claim_one, execute_at, history, let_time_pass, one_round

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]
LOWER = MARKET | {"instrument": "aapl_2025_03"}
INSTRUMENT_HALTED = ["Trading in this instrument is halted."]


@pytest.fixture
def client(account: Any) -> Any:
    return client_for(account)


def halt() -> Halt:
    return halt_trading("dora", "odd prices", instrument="AAPL_2025_03")


def resume() -> None:
    resume_trading("dora", "explained", instrument="AAPL_2025_03")


def sent_in_lower_case(order: Order, instrument: str = "aapl_2025_03") -> Order:
    """As it stands in a database that took lower case: an exchange was asked once, and had no time."""
    claim = claim_one()
    assert claim.order.id == order.id
    record([Result(claim, Unavailable("busy"), timezone.now(), 0.1, timezone.now())], POLICY)
    Order.objects.filter(id=order.id).update(instrument=instrument, next_attempt_at=timezone.now())
    order.refresh_from_db()
    return order


@given(st.from_regex(INSTRUMENT_PATTERN, fullmatch=True).map(lambda text: text.rstrip("\n")))
def test_the_canonical_form_is_an_instrument_and_its_own_canonical_form(text: str) -> None:
    canonical = canonical_instrument(text)
    assert canonical == canonical_instrument(canonical) == canonical_instrument(text.lower())
    assert canonical.isascii()
    assert len(canonical) == 12


@pytest.mark.parametrize(
    "text", ["A\u017fPL_2025_03", "A\u0131PL_2025_03", "A\u00dfL_2025_03", "\ufb00PL_2025_03", "AAPL_2025_03\n"]
)
def test_no_other_letter_becomes_part_of_an_instrument(text: str) -> None:
    with pytest.raises(ValueError, match="not an instrument"):
        canonical_instrument(text)
    with pytest.raises(ValueError, match="not an instrument"):
        NewOrder("market", "buy", text, 100)


def test_the_database_has_the_same_upper_case_as_python() -> None:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    with connection.cursor() as cursor:
        cursor.execute("""SELECT upper(%s COLLATE "C")""", [letters])
        assert cursor.fetchone() == (letters.upper(),)
    assert 'COLLATE "C"' in str(Order.objects.order_by(CANONICAL_INSTRUMENT).query)


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


@pytest.mark.parametrize("again", [LOWER, MARKET], ids=["lower", "upper"])
def test_a_replay_of_an_order_that_was_sent_in_lower_case_shows_it_as_it_was_sent(
    client: Any, accept: Accept, again: dict[str, Any]
) -> None:
    order = sent_in_lower_case(accept(client_order_id="c1"))
    answer = post(client, again | {"client_order_id": "c1"})
    assert (answer.status_code, answer.json()["id"], answer.json()["instrument"]) == (200, str(order.id), "aapl_2025_03")


@pytest.mark.parametrize("table", ["orders_order", "orders_halt", "orders_lastprice"])
def test_the_database_takes_nothing_new_in_lower_case(account: Any, accept: Accept, table: str) -> None:
    accept()
    halt()
    LastPrice.objects.create(instrument="AAPL_2025_03", price=1, executed_at=timezone.now())
    with (
        pytest.raises(IntegrityError, match=r'"(\w+_)?instrument_in_upper_case(_unless_sent)?"'),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"UPDATE {table} SET instrument = 'aapl_2025_03'")


def test_an_order_that_was_sent_in_lower_case_is_filled_and_tells_the_price_of_its_instrument(accept: Accept) -> None:
    order = sent_in_lower_case(accept())
    other = accept()
    apply_reports([report(other, 1, ReportType.FILLED, 100, "10.00", exchange_order_id="X2")], "s1")
    apply_reports([report(order, 2, ReportType.FILLED, 100, "11.00")], "s1")
    order.refresh_from_db()
    assert (order.instrument, order.execution_status, order.filled_quantity) == ("aapl_2025_03", ExecutionStatus.FILLED, 100)
    assert list(LastPrice.objects.values_list("instrument", "price")) == [("AAPL_2025_03", Decimal(11))]


@pytest.mark.parametrize("instrument", ["aapl_2025_03", "Aapl_2025_03"])
def test_an_order_that_was_sent_in_lower_case_is_held_released_and_not_retried_by_halts(accept: Accept, instrument: str) -> None:
    order, failed = sent_in_lower_case(accept(), instrument), accept()
    Order.objects.filter(id=failed.id).update(instrument=instrument, attempt_count=1)
    refuse(Order.objects.get(id=failed.id))
    halt()
    assert claim_due_orders(10, POLICY) == []
    assert retry_orders([failed.id], "dora").passed_over == {failed.id: "cannot be sent while trading is halted"}
    resume()
    assert release_orders() == 1
    assert history(order) == ["accepted", "retrying", "held", "released"]
    assert [claim.order.id for claim in claim_due_orders(10, POLICY)] == [order.id]


def test_the_page_that_resumes_counts_orders_that_were_sent_in_lower_case(accept: Accept, staff: Any) -> None:
    sent_in_lower_case(accept())
    halted = halt()
    claim_due_orders(10, POLICY)
    answer = staff("view_halt", "resume_trading").get(f"/admin/orders/halt/{halted.pk}/resume/")
    assert b"Held in its scope: 1." in b" ".join(answer.content.split())


def test_a_price_collar_holds_for_a_retry_of_an_order_that_was_sent_in_lower_case(account: Any, accept: Accept) -> None:
    order = sent_in_lower_case(accept(type="limit", limit_price=Decimal(110)))
    refuse(order)
    change_limits(account, "dora", "trial", price_collar_percent=Decimal(5))
    LastPrice.objects.create(instrument="AAPL_2025_03", price=100, executed_at=timezone.now())
    assert list(retry_orders([order.id], "dora").passed_over) == [order.id]


@pytest.mark.parametrize("term", ["aapl_2025_03", "AAPL_2025_03", "Aapl_2025_03"])
def test_filter_and_search_find_the_orders_of_every_letter_case(client: Any, accept: Accept, viewer: Client, term: str) -> None:
    orders = [sent_in_lower_case(accept()), accept()]
    accept(instrument="TSLA_2025_06")
    expected = {str(order.id) for order in orders}
    assert {order["id"] for order in client.get("/orders", {"instrument": term}).json()["results"]} == expected
    found = viewer.get(LIST, {"q": term}).context["cl"].result_list
    assert {str(order.id) for order in found} == expected


@pytest.mark.parametrize("term", ["a\u0131pl_2025_03", "A\u017fPL_2025_03", "aapl_2025_0%"])
def test_a_filter_for_no_instrument_finds_nothing(client: Any, accept: Accept, term: str) -> None:
    accept()
    assert client.get("/orders", {"instrument": term}).json()["results"] == []


@pytest.mark.django_db(transaction=True)
def test_the_exchange_is_asked_for_an_order_in_the_spelling_that_it_was_sent_in(
    simulator: SimulatorProcess, accept: Accept
) -> None:
    order = sent_in_lower_case(accept())
    # Sent again and taken, but the answer is never recorded: so it is looked up.
    execute_at(claim_one(), simulator.url)
    let_time_pass(70)
    one_round(simulator.url)
    order.refresh_from_db()
    assert order.status == Status.COMPLETED
    taken = simulator.book()[str(order.id)]
    assert (taken["instrument"], taken["times_received"]) == ("aapl_2025_03", 1)
