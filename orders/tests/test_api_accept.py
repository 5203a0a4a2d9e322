import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import OrmQ
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders.models import Order, OrderEvent
from orders.order_entry.service import NewOrder, accept_orders
from testsupport.api_calls import LIMIT, MARKET, NOTHING, client_for, post, stored

LATER = "2030-01-31T15:30:00Z"


@pytest.fixture
def client(account: Any) -> Any:
    return client_for(account)


@pytest.mark.parametrize(
    ("body", "status", "problems"),
    [
        ('{ "type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100 }', 202, None),
        ('{ "type": "limit", "side": "sell", "instrument": "TSLA_2025_06", "limit_price": 250.50, "quantity": 50 }', 202, None),
        (
            '{ "type": "market", "side": "buy", "instrument": "GOOG_2025_09", "limit_price": 150.75, "quantity": 75 }',
            400,
            {"limit_price": ["A market order has no limit price."]},
        ),
        (
            '{ "type": "limit", "side": "sell", "instrument": "MSFT_2025_12", "quantity": 200 }',
            400,
            {"limit_price": ["A limit order needs a limit price."]},
        ),
        (
            '{ "type": "market", "side": "buy", "instrument": "NVDA_25", "quantity": 30 }',
            400,
            {"instrument": ["Exactly 12 characters: letters, digits and . _ - (an ISIN has 12)."]},
        ),
    ],
)
def test_the_seeds_examples_work_as_written(client: Any, body: str, status: int, problems: Any) -> None:
    answer = post(client, body)
    assert answer.status_code == status
    if status == 202:
        assert stored() == {"orders": 1, "events": 1, "wake_ups": 1}
    else:
        assert answer.json() == problems
        assert stored() == NOTHING


def test_an_accepted_order_is_answered_with_its_place_and_all_of_its_terms(client: Any) -> None:
    answer = post(client, LIMIT | {"client_order_id": "my 1st order", "expires_at": LATER})
    order = Order.objects.get()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"http://testserver/orders/{order.id}"
    assert "Idempotent-Replayed" not in answer.headers
    now = order.created_at.isoformat().replace("+00:00", "Z")
    assert answer.json() == {
        "id": str(order.id),
        "client_order_id": "my 1st order",
        "created_at": now,
        "updated_at": now,
        "type": "limit",
        "side": "sell",
        "instrument": "TSLA_2025_06",
        "limit_price": "250.50",
        "quantity": 50,
        "expires_at": LATER,
        "status": "pending",
        "error_code": None,
        "error_message": None,
        "attempt_count": 0,
        "next_attempt_at": now,
        "cancel_requested_at": None,
        "exchange_order_id": None,
        "placed_at": None,
        "execution_status": None,
        "filled_quantity": 0,
        "average_price": None,
    }
    shown = client.get(answer.headers["Location"]).json()
    assert shown.pop("history")
    assert shown == answer.json()


def test_an_accepted_order_belongs_to_the_caller_and_is_due_at_once(client: Any, account: Any) -> None:
    before = timezone.now()
    post(client, MARKET)
    order = Order.objects.get()
    assert order.account == account
    assert order.id.version == 7
    assert order.next_attempt_at is not None
    assert before <= order.next_attempt_at <= timezone.now()
    assert order.give_up_at == order.created_at + timedelta(minutes=15)


def test_the_clients_own_id_defaults_to_ours(client: Any) -> None:
    order = post(client, MARKET).json()
    assert order["client_order_id"] == order["id"]
    assert post(client, MARKET | {"client_order_id": order["id"]}).status_code == 200
    assert stored()["orders"] == 1


@pytest.mark.parametrize(
    "header",
    ["application/json", "*/*", "application/*", "application/json; indent=2", "text/html, */*;q=0.1", "a" * 300 + ", */*"],
)
def test_any_accept_header_that_allows_json_is_answered(client: Any, header: str) -> None:
    answer = post(client, MARKET, Accept=header)
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (202, "application/json")
    assert answer.json()["id"] == str(Order.objects.get().id)


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
def test_any_body_is_accepted_replayed_or_refused_with_a_reason(client: Any, body: Any) -> None:
    before = stored()["orders"]
    answer = post(client, body)
    assert answer.status_code in {200, 202, 400, 409}
    assert answer.json()
    assert stored()["orders"] - before == (answer.status_code == 202)


def test_two_requests_without_an_id_are_two_orders(client: Any) -> None:
    assert [post(client, MARKET).status_code for _ in range(2)] == [202, 202]
    assert stored() == {"orders": 2, "events": 2, "wake_ups": 2}


def test_an_order_is_stored_with_one_accepted_event_and_one_wake_up(client: Any, account: Any) -> None:
    answer = post(client, MARKET)
    event = OrderEvent.objects.get()
    assert (event.type, str(event.order_id), event.account, event.data) == ("accepted", answer.json()["id"], account, {})
    assert event.occurred_at == Order.objects.get().created_at
    assert OrmQ.objects.get().func() == "orders.placement.tasks.place_orders"


@pytest.mark.django_db(transaction=True)
def test_order_event_and_wake_up_are_written_by_one_transaction(client: Any) -> None:
    post(client, MARKET)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xmin FROM orders_order UNION ALL SELECT xmin FROM orders_orderevent UNION ALL SELECT xmin FROM django_q_ormq"
        )
        writers = [xmin for [xmin] in cursor.fetchall()]
    assert len(writers) == 3
    assert len(set(writers)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_wake_up_that_cannot_be_queued_takes_the_order_with_it(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orders.wakeups.django_q.task", lambda: None)
    client.raise_request_exception = False
    assert post(client, MARKET).status_code == 500
    assert stored() == NOTHING


def test_a_callers_transaction_takes_everything_back(account: Any) -> None:
    with suppress(InterruptedError), transaction.atomic():
        accept_orders(account.pk, [NewOrder(**MARKET)])
        assert stored() == {"orders": 1, "events": 1, "wake_ups": 1}
        raise InterruptedError
    assert stored() == NOTHING


@pytest.mark.parametrize("given", ["in the body", "in the header", "in both"])
def test_a_repeated_request_is_answered_with_the_order_that_exists(client: Any, given: str) -> None:
    body = LIMIT if given == "in the header" else LIMIT | {"client_order_id": "c1"}
    headers = {} if given == "in the body" else {"Idempotency-Key": "c1"}
    first = post(client, body, **headers)
    assert (first.status_code, first.json()["client_order_id"]) == (202, "c1")
    before = stored()
    again = post(client, body, **headers)
    assert again.status_code == 200
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert again.json() == first.json()
    assert stored() == before


def test_header_and_body_name_the_same_order(client: Any) -> None:
    post(client, MARKET, **{"Idempotency-Key": "c1"})
    assert post(client, MARKET | {"client_order_id": "c1"}).status_code == 200
    assert stored()["orders"] == 1


@pytest.mark.parametrize("in_body", ["c2", None, 7])
def test_header_and_body_that_differ_are_refused(client: Any, in_body: Any) -> None:
    answer = post(client, MARKET | {"client_order_id": in_body}, **{"Idempotency-Key": "c1"})
    assert answer.status_code == 400
    assert answer.json() == {"client_order_id": ["The Idempotency-Key header has another id."]}
    assert stored() == NOTHING


@pytest.mark.parametrize("key", ["", "x" * 65, "é", "a\tb"])
def test_an_idempotency_key_is_checked_like_the_field(client: Any, key: str) -> None:
    answer = post(client, MARKET, **{"Idempotency-Key": key})
    assert (answer.status_code, list(answer.json())) == (400, ["client_order_id"])
    assert stored() == NOTHING


@pytest.mark.parametrize(
    "other",
    [
        {"type": "market", "limit_price": None},
        {"side": "buy"},
        {"instrument": "TSLA_2025_07"},
        {"limit_price": "250.51"},
        {"quantity": 51},
        {"expires_at": None},
        {"expires_at": "2030-01-31T15:30:00.000001Z"},
    ],
    ids=str,
)
def test_a_known_id_with_any_other_term_is_a_conflict(client: Any, other: dict[str, Any]) -> None:
    terms = LIMIT | {"client_order_id": "c1", "expires_at": LATER}
    first = post(client, terms)
    before = stored()
    answer = post(client, terms | other)
    assert answer.status_code == 409
    assert answer.json() == {"client_order_id": ["An order with client_order_id 'c1' exists with other terms."]}
    assert stored() == before
    assert post(client, terms).json() == first.json()


@pytest.mark.parametrize(
    "same", [{"limit_price": 250.5}, {"limit_price": "250.5"}, {"expires_at": "2030-01-31T16:30:00+01:00"}], ids=str
)
def test_the_same_terms_written_differently_are_the_same(client: Any, same: dict[str, Any]) -> None:
    terms = LIMIT | {"client_order_id": "c1", "expires_at": LATER}
    post(client, terms)
    assert post(client, terms | same).status_code == 200


def test_two_accounts_may_use_the_same_id(client: Any, django_user_model: Any) -> None:
    bert = client_for(django_user_model.objects.create_user("bert"))
    mine, theirs = post(client, MARKET | {"client_order_id": "c1"}), post(bert, LIMIT | {"client_order_id": "c1"})
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["id"] != theirs.json()["id"]
    assert stored() == {"orders": 2, "events": 2, "wake_ups": 2}
    # Each repeat meets the order of its own account and not that with the same id.
    assert post(client, MARKET | {"client_order_id": "c1"}).json() == mine.json()
    assert post(bert, LIMIT | {"client_order_id": "c1"}).json() == theirs.json()


def test_an_expired_order_is_not_known_because_another_account_has_its_id(client: Any, django_user_model: Any) -> None:
    post(client, MARKET | {"client_order_id": "c1"})
    bert = client_for(django_user_model.objects.create_user("bert"))
    answer = post(bert, MARKET | {"client_order_id": "c1", "expires_at": "2020-01-31T15:30:00Z"})
    assert (answer.status_code, answer.json()) == (400, {"expires_at": ["This time has passed."]})


def test_a_repeat_is_answered_as_before_even_after_the_order_has_expired(
    client: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The database's clock stays where it is.
    settings.EXCHANGE_CLOCK_MARGIN = 1e9
    terms = MARKET | {"client_order_id": "c1", "expires_at": LATER}
    first = post(client, terms)
    before = stored()
    monkeypatch.setattr("django.utils.timezone.now", lambda: datetime(2031, 1, 1, tzinfo=UTC))
    again = post(client, terms)
    assert (again.status_code, again.json()) == (200, first.json())
    assert post(client, terms | {"quantity": 1}).status_code == 409
    assert post(client, terms | {"client_order_id": "c2"}).json() == {"expires_at": ["This time has passed."]}
    assert stored() == before


@pytest.mark.parametrize(
    "price", ["12345678901234567.89", '"12345678901234567.89"', "0.01", "1E2", "250", '"250.5"', "9007199254740993.01"]
)
def test_a_price_is_kept_to_the_last_digit(client: Any, price: str) -> None:
    answer = post(client, json.dumps(LIMIT).replace('"250.50"', price))
    exact = Decimal(price.strip('"'))
    assert answer.status_code == 202
    assert answer.json()["limit_price"] == f"{exact:.2f}"
    assert Order.objects.get().limit_price == exact


def test_what_is_null_is_the_same_as_what_is_missing(client: Any) -> None:
    answer = post(client, MARKET | {"limit_price": None, "expires_at": None, "client_order_id": "c1"})
    assert answer.status_code == 202
    assert post(client, MARKET | {"client_order_id": "c1"}).status_code == 200


@pytest.mark.parametrize(
    ("given", "utc"),
    [
        ("2030-01-31T15:30:00Z", datetime(2030, 1, 31, 15, 30, tzinfo=UTC)),
        ("2030-01-31T15:30:00.123456-05:00", datetime(2030, 1, 31, 20, 30, 0, 123456, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_stored_in_utc(client: Any, given: str, utc: datetime) -> None:
    assert post(client, MARKET | {"expires_at": given}).status_code == 202
    assert Order.objects.get().expires_at == utc


@pytest.mark.parametrize("quantity", [1, 2**31 - 1])
def test_the_smallest_and_the_largest_quantity_are_taken(client: Any, quantity: int) -> None:
    answer = post(client, MARKET | {"quantity": quantity})
    assert (answer.status_code, answer.json()["quantity"]) == (202, quantity)
    assert Order.objects.get(id=UUID(answer.json()["id"])).quantity == quantity


@pytest.mark.parametrize("own_id", ["!", "~" * 64, "a b", '"quoted"', "order/7?x=1&y=%20"])
def test_any_printable_text_may_be_a_client_order_id(client: Any, own_id: str) -> None:
    assert post(client, MARKET | {"client_order_id": own_id}).status_code == 202
    [found] = client.get("/orders", {"client_order_id": own_id}).json()["results"]
    assert found["client_order_id"] == own_id


def test_what_one_statement_stores_is_what_django_would_have_stored(account: Any) -> None:
    terms = LIMIT | {"limit_price": Decimal("250.50"), "expires_at": timezone.now() + timedelta(days=1)}
    [order] = accept_orders(account.pk, [NewOrder(**terms)]).orders
    assert Order.objects.values().get() == {name: value for name, value in vars(order).items() if name != "_state"}


def test_a_column_that_the_next_release_has_added_is_left_to_its_default(client: Any) -> None:
    """Such a release migrates while this one still runs (docs/operations.md)."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE orders_order ADD COLUMN venue text NOT NULL DEFAULT 'xetra'")
    assert post(client, MARKET).status_code == 202
    assert post(client, [MARKET, LIMIT], "/orders/batch").status_code == 202
    with connection.cursor() as cursor:
        cursor.execute("SELECT array_agg(venue) FROM orders_order")
        assert cursor.fetchone() == (["xetra"] * 3,)
