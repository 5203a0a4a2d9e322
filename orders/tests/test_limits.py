"""Pre-trade limits: each rule by itself, what a client is told, and what is stored."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from exchange.reports import ReportType
from orders import lifecycle
from orders.executions.reports import apply_reports
from orders.models import NEEDS_OPERATOR, OPEN, AccountLimits, LastPrice, Order, SafetyEvent
from orders.order_entry.service import NewOrder
from orders.placement.attempts import claim_due_orders
from orders.placement.manual_retry import retry_orders
from orders.risk.limits import change_limits, refusal
from orders.states import Limit, Status
from orders.storage import save_changes
from orders.tests.desk import lose, refuse
from orders.tests.reporting import report
from testsupport.api_calls import LIMIT, MARKET, NOTHING, client_for, post, stored
from testsupport.placement import POLICY, history, many_like

Accept = Callable[..., Order]
BATCH = "/orders/batch"
TOO_MUCH = {"quantity": ["At most 99 in one order."], "code": "max_quantity"}


@pytest.fixture
def client(account: Any) -> Any:
    return client_for(account)


@pytest.fixture
def limit(account: Any) -> Callable[..., AccountLimits]:
    return lambda **changes: change_limits(account, "dora", "trial", **changes)


def market(quantity: int = 100) -> NewOrder:
    return NewOrder("market", "buy", "AAPL_2025_03", quantity)


def at(price: str, quantity: int = 100) -> NewOrder:
    return NewOrder("limit", "buy", "AAPL_2025_03", quantity, Decimal(price))


# Limits, the last execution's price, how many orders are open, the order -> which limit refuses it.
RULES: list[tuple[dict[str, Any], str | None, int, NewOrder, Limit | None]] = [
    ({}, "1", 10**6, at("999999.99", 2**31 - 1), None),
    ({"max_quantity": 100}, None, 0, market(100), None),
    ({"max_quantity": 100}, None, 0, market(101), Limit.QUANTITY),
    ({"max_quantity": 100}, None, 0, at("1", 101), Limit.QUANTITY),
    ({"max_notional": Decimal("250.50")}, None, 0, at("250.50", 1), None),
    ({"max_notional": Decimal("250.50")}, None, 0, at("250.51", 1), Limit.NOTIONAL),
    ({"max_notional": Decimal("250.50")}, None, 0, at("83.51", 3), Limit.NOTIONAL),
    ({"max_notional": Decimal("250.50")}, "10000", 0, market(10**6), None),
    # More digits than Python's decimals have unless they are told.
    ({"max_notional": Decimal("21474836470000000064424509.41")}, None, 0, at("10000000000000000.03", 2**31 - 1), None),
    ({"max_notional": Decimal("21474836470000000064424509.40")}, None, 0, at("10000000000000000.03", 2**31 - 1), Limit.NOTIONAL),
    ({"price_collar_percent": Decimal(5)}, None, 0, at("9999"), None),
    ({"price_collar_percent": Decimal(5)}, "100", 0, at("105"), None),
    ({"price_collar_percent": Decimal(5)}, "100", 0, at("95"), None),
    ({"price_collar_percent": Decimal(5)}, "100", 0, at("105.01"), Limit.PRICE_COLLAR),
    ({"price_collar_percent": Decimal(5)}, "100", 0, at("94.99"), Limit.PRICE_COLLAR),
    ({"price_collar_percent": Decimal(5)}, "100", 0, market(), None),
    ({"price_collar_percent": Decimal("0.01")}, "33.33333333", 0, at("33.33"), None),
    ({"price_collar_percent": Decimal("0.01")}, "33.33333333", 0, at("33.34"), Limit.PRICE_COLLAR),
    ({"price_collar_percent": Decimal(150)}, "100", 0, at("0.01"), None),
    ({"open_orders": 3}, None, 2, market(), None),
    ({"open_orders": 3}, None, 3, market(), Limit.OPEN_ORDERS),
    ({"open_orders": 3}, None, 7, at("1"), Limit.OPEN_ORDERS),
    # The first that is broken is told.
    ({"max_quantity": 1, "max_notional": Decimal(1), "open_orders": 1}, "1", 1, at("9"), Limit.QUANTITY),
    ({"max_notional": Decimal(1), "price_collar_percent": Decimal(1), "open_orders": 1}, "1", 1, at("9"), Limit.NOTIONAL),
    ({"price_collar_percent": Decimal(1), "open_orders": 1}, "1", 1, at("9"), Limit.PRICE_COLLAR),
]


@pytest.mark.parametrize(("limits", "last_price", "open_orders", "order", "expected"), RULES, ids=str)
def test_each_rule(
    limits: dict[str, Any], last_price: str | None, open_orders: int, order: NewOrder, expected: Limit | None
) -> None:
    price = None if last_price is None else Decimal(last_price)
    found = refusal(order, AccountLimits(**limits), price, open_orders)
    assert (found and found.limit) == expected


def test_a_refused_order_is_told_by_field_with_a_code_and_kept_for_audit(client: Any, limit: Any) -> None:
    limit(max_quantity=99)
    answer = post(client, MARKET | {"client_order_id": "c1"})
    order = Order.objects.get()
    assert (answer.status_code, answer.json()) == (422, TOO_MUCH)
    assert answer.headers["Location"] == f"http://testserver/orders/{order.id}"
    assert (order.status, order.error_code, order.error_message) == ("failed", "refused_by_limits", "At most 99 in one order.")
    [event] = client.get(answer.headers["Location"]).json()["history"]
    assert event["type"] == "failed"
    assert event["data"] == {
        "error_code": "refused_by_limits",
        "error_message": "At most 99 in one order.",
        "limit": "max_quantity",
    }
    assert stored() == {"orders": 1, "events": 1, "wake_ups": 0}


def test_a_refused_order_is_never_sent_and_needs_nobody(client: Any, limit: Any) -> None:
    limit(max_quantity=99)
    post(client, MARKET)
    assert claim_due_orders(10, POLICY) == []
    assert not Order.objects.filter(NEEDS_OPERATOR).exists()
    output = io.StringIO()
    call_command("retry_failed", stdout=output)
    assert output.getvalue() == "Nothing to retry.\n"


@pytest.mark.parametrize(
    ("condition", "index"),
    [(NEEDS_OPERATOR, "order_needs_operator"), (OPEN & Q(account__username="anna"), "order_open_by_account")],
    ids=["what needs an operator", "what is open"],
)
def test_what_is_asked_for_often_is_found_without_passing_old_orders(accept: Accept, condition: Q, index: str) -> None:
    many_like(accept(), 3000, status="canceled", next_attempt_at=None)
    assert index in Order.objects.filter(condition).explain()


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (
            {"max_notional": Decimal(12525) - Decimal("0.01")},
            {
                "limit_price": ["Quantity times limit price is 12525.00; at most 12524.99 in one order."],
                "code": "max_notional",
            },
        ),
        (
            {"price_collar_percent": Decimal("2.5")},
            {
                "limit_price": ["At most 2.5% away from the last execution, which was at 200."],
                "code": "price_collar",
            },
        ),
        ({"open_orders": 1}, {"detail": "Too many open orders: at most 1 at the same time.", "code": "open_orders"}),
    ],
    ids=str,
)
def test_what_each_limit_says(client: Any, limit: Any, limits: dict[str, Any], problem: dict[str, Any]) -> None:
    LastPrice.objects.create(instrument=LIMIT["instrument"], price=200, executed_at=timezone.now())
    post(client, MARKET)
    limit(**limits)
    answer = post(client, LIMIT)
    assert (answer.status_code, answer.json()) == (422, problem)


def test_a_repeat_of_a_refused_order_gets_the_same_answer_whatever_the_limits_are_now(client: Any, limit: Any) -> None:
    limit(max_quantity=99)
    first = post(client, MARKET | {"client_order_id": "c1"})
    limit(max_quantity=None)
    before = stored()
    again = post(client, MARKET | {"client_order_id": "c1"})
    assert (again.status_code, again.json(), again.headers["Location"]) == (422, first.json(), first.headers["Location"])
    assert post(client, MARKET | {"client_order_id": "c1", "quantity": 1}).status_code == 409
    batch = post(client, [MARKET | {"client_order_id": "c1"}], BATCH)
    assert (batch.status_code, batch.json()) == (422, {"0": TOO_MUCH})
    assert stored() == before


def test_a_refused_order_cannot_be_canceled_and_its_repeat_is_refused_all_the_same(client: Any, limit: Any) -> None:
    limit(max_quantity=10)
    order = MARKET | {"client_order_id": "c1"}
    refused = post(client, order)
    assert refused.status_code == 422
    canceled = client.post(f"/orders/{Order.objects.get().id}/cancel")
    assert canceled.status_code == 409
    again = post(client, order)
    assert (again.status_code, again.json()) == (422, refused.json())


def test_a_repeat_of_an_accepted_order_is_answered_as_before_whatever_the_limits_are_now(client: Any, limit: Any) -> None:
    first = post(client, MARKET | {"client_order_id": "c1"})
    limit(max_quantity=1, orders_per_second=1, open_orders=1)
    again = post(client, MARKET | {"client_order_id": "c1"})
    assert (again.status_code, again.json()) == (200, first.json())
    assert post(client, [MARKET | {"client_order_id": "c1"}], BATCH).status_code == 200


def test_a_batch_with_one_refused_order_stores_nothing(client: Any, limit: Any) -> None:
    limit(max_quantity=99)
    answer = post(client, [LIMIT, MARKET, LIMIT, MARKET], BATCH)
    assert (answer.status_code, answer.json()) == (422, {"1": TOO_MUCH, "3": TOO_MUCH})
    assert stored() == NOTHING
    assert post(client, [LIMIT, LIMIT], BATCH).status_code == 202


def test_the_orders_of_a_batch_count_for_one_another(client: Any, limit: Any) -> None:
    post(client, MARKET)
    limit(open_orders=3)
    answer = post(client, [MARKET] * 4, BATCH)
    problem = {"detail": "Too many open orders: at most 3 at the same time.", "code": "open_orders"}
    assert (answer.status_code, answer.json()) == (422, {"2": problem, "3": problem})
    assert post(client, [MARKET] * 2, BATCH).status_code == 202


def test_only_open_orders_of_the_account_count(client: Any, limit: Any, accept: Accept, django_user_model: Any) -> None:
    bert = client_for(django_user_model.objects.create_user("bert"))
    limit(open_orders=1)
    post(bert, MARKET)
    for end in ("failed", "canceled", "filled"):
        order = accept()
        assert post(client, MARKET).status_code == 422
        if end == "failed":
            refuse(order)
        elif end == "canceled":
            client.post(f"/orders/{order.id}/cancel")
        else:
            apply_reports([report(order, order.id.int % 10**6, ReportType.FILLED, 100)], "s1")
    lost = lose(accept(), POLICY)
    assert lost.status == Status.ERROR
    assert post(client, MARKET).status_code == 422, "it may be at the exchange"


def test_too_many_orders_in_a_second_are_told_to_wait_and_not_stored(client: Any, limit: Any) -> None:
    limit(orders_per_second=2)
    assert [post(client, MARKET).status_code for _ in range(2)] == [202, 202]
    before = stored()
    answer = post(client, MARKET)
    problem = {"detail": "Too many orders: at most 2 per second.", "code": "orders_per_second"}
    assert (answer.status_code, answer.json()) == (429, problem)
    assert answer.headers["Retry-After"] == "1"
    assert post(client, [MARKET], BATCH).status_code == 429
    assert stored() == before


def test_refused_orders_count_as_sent(client: Any, limit: Any) -> None:
    limit(orders_per_second=2, max_quantity=99)
    assert [post(client, MARKET).status_code for _ in range(3)] == [422, 422, 429]


def test_orders_of_more_than_a_second_ago_do_not_count(client: Any, limit: Any) -> None:
    limit(orders_per_second=1)
    post(client, MARKET)
    order = Order.objects.get()
    # The same order, made a second and two milliseconds earlier; its id says when.
    with connection.cursor() as cursor:
        earlier = type(order.id)(int=order.id.int - (1002 << 80))
        cursor.execute("UPDATE orders_orderevent SET order_id = %s", [earlier])
        cursor.execute("UPDATE orders_order SET id = %s", [earlier])
    assert post(client, MARKET).status_code == 202


def test_a_batch_that_can_never_fit_into_a_second_is_not_told_to_wait(client: Any, limit: Any) -> None:
    limit(orders_per_second=2)
    answer = post(client, [MARKET] * 3, BATCH)
    assert (answer.status_code, answer.json()["code"]) == (422, "orders_per_second")
    assert "Retry-After" not in answer.headers
    assert stored() == NOTHING


def statements(client: Any, body: Any) -> list[str]:
    post(client, body)
    with CaptureQueriesContext(connection) as queries:
        assert post(client, body).status_code == 202
    # The first statement finds that there are limits, and the others are about them. The clock is read now and then.
    others = ("json_to_recordset", "clock_timestamp()")
    return [query["sql"] for query in queries if not any(words in query["sql"] for words in others)]


def test_an_account_without_count_limits_pays_nothing_for_them(client: Any, limit: Any) -> None:
    limit(max_quantity=1000, max_notional=Decimal(10**6))
    without = statements(client, LIMIT)
    assert not [sql for sql in without if "FOR UPDATE" in sql or "COUNT(" in sql]
    # With the halts: before, and after the order was stored, which may have waited for another with its client order id.
    assert len([sql for sql in without if "orders_accountlimits" in sql]) == 2
    limit(open_orders=1000)
    counting = statements(client, LIMIT)
    # The lock, a look at the halts after it, and the count.
    assert len(counting) == len(without) + 3
    assert len([sql for sql in counting if "FOR UPDATE" in sql]) == 1


def test_a_retry_checks_the_limits_again(client: Any, account: Any, limit: Any, accept: Accept) -> None:
    order = refuse(accept())
    limit(max_quantity=99)
    reason = "would break a limit: At most 99 in one order."
    assert retry_orders([order.id], "dora", alone=True).passed_over == {order.id: reason}
    order.refresh_from_db()
    assert (order.status, history(order)) == (Status.FAILED, ["accepted", "failed"])
    limit(max_quantity=100)
    assert retry_orders([order.id], "dora").sent == [order.id]


def test_a_retry_of_many_stops_at_the_limit_of_open_orders(accept: Accept, limit: Any) -> None:
    lost = lose(accept(), POLICY)
    failed = [refuse(accept()) for _ in range(3)]
    limit(open_orders=3)
    retried = retry_orders([lost.id, *(order.id for order in failed)], "dora")
    assert retried.looked_up == [lost.id], "it counts already"
    assert retried.sent == [order.id for order in failed[:2]]
    assert list(retried.passed_over) == [failed[2].id]


def test_an_order_that_limits_refused_is_retried_alone_only(client: Any, limit: Any) -> None:
    limit(max_quantity=99)
    post(client, MARKET | {"client_order_id": "c1"})
    order = Order.objects.get()
    limit(max_quantity=None)
    assert retry_orders([order.id], "dora").passed_over == {order.id: "was refused by limits: retry it alone"}
    assert retry_orders([order.id], "dora", alone=True).sent == [order.id]
    again = post(client, MARKET | {"client_order_id": "c1"})
    assert (again.status_code, again.json()["status"]) == (200, "pending")
    save_changes([order := Order.objects.get()], lifecycle.refused(order, "no", timezone.now()))
    assert post(client, MARKET | {"client_order_id": "c1"}).status_code == 200, "the exchange refused it, and not a limit"


def test_the_last_execution_is_the_latest_whatever_order_reports_come_in(accept: Accept) -> None:
    order, other = accept(), accept(instrument="TSLA_2025_06")
    second = report(order, 2, ReportType.PARTIALLY_FILLED, 40, "11.00")
    first = report(order, 1, ReportType.PARTIALLY_FILLED, 40, "10.00", total=80)
    apply_reports([second, report(other, 3, ReportType.FILLED, 100, "250.123456", exchange_order_id="X2")], "s1")
    apply_reports([first], "s1")
    prices = dict(LastPrice.objects.values_list("instrument", "price"))
    assert prices == {"AAPL_2025_03": Decimal(11), "TSLA_2025_06": Decimal("250.123456")}
    assert LastPrice.objects.get(instrument="AAPL_2025_03").executed_at == datetime(2020, 1, 1, 12, 0, 2, tzinfo=UTC)


def test_a_report_that_is_not_applied_leaves_no_price(accept: Accept) -> None:
    apply_reports([report(accept(), 1, ReportType.FILLED, 101, "9.00")], "s1")
    assert not LastPrice.objects.exists()


def test_a_change_of_limits_leaves_an_event_that_nobody_can_change(account: Any, limit: Any) -> None:
    limit(max_quantity=5)
    limit(max_notional=Decimal("10.50"))
    event = SafetyEvent.objects.first()
    assert event is not None
    assert (event.type, event.account, event.by, event.reason) == ("limits_changed", account, "dora", "trial")
    nothing = {"price_collar_percent": None, "orders_per_second": None, "open_orders": None}
    assert event.data == {
        "before": {"max_quantity": 5, "max_notional": None} | nothing,
        "after": {"max_quantity": 5, "max_notional": "10.50"} | nothing,
    }
    for change in (event.delete, event.save):
        with pytest.raises(ProgrammingError, match="safety events are append-only"), transaction.atomic():
            change()


@pytest.mark.parametrize("name", ["max_quantity", "max_notional", "price_collar_percent", "orders_per_second", "open_orders"])
def test_a_limit_is_above_0(limit: Any, name: str) -> None:
    with pytest.raises(IntegrityError, match=f'"limit_{name}_positive"'), transaction.atomic():
        limit(**{name: 0})


def test_the_document_of_the_api_tells_both_refusals(client: Any) -> None:
    paths = yaml.safe_load(client.get("/schema").content)["paths"]
    for path in ("/orders", "/orders/batch"):
        responses = paths[path]["post"]["responses"]
        assert {"202", "200", "409", "422", "429"} <= responses.keys()
        assert "Retry-After" in responses["429"]["headers"]
        assert responses["422"]["content"]["application/json"]["examples"]
