import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.serializers import ModelSerializer

from exchange import gateway as venue
from orders import lifecycle
from orders.api.serializers import OrderSerializer
from orders.event_data import Cause
from orders.models import Order
from orders.rendering import serialize_order
from orders.retry_policy import PlacementPolicy
from orders.states import ErrorCode, Status
from orders.storage import save_changes
from testsupport.api_calls import client_for

Accept = Callable[..., Order]
START = datetime(2030, 1, 1, tzinfo=UTC)
PARAMETERS = "client_order_id, created_after, created_before, cursor, execution_status, instrument, page_size, side, status, type"


@pytest.fixture
def client(account: Any) -> Any:
    return client_for(account)


def found(client: Any, **filters: Any) -> list[str]:
    """The client order ids that a list with these filters shows, newest first."""
    answer = client.get("/orders", filters)
    assert answer.status_code == 200
    assert answer.json()["next"] is None
    return [order["client_order_id"] for order in answer.json()["results"]]


def walk(client: Any, url: str, link: str = "next") -> list[list[str]]:
    """The client order ids of each page, until there is no further one."""
    pages = []
    while url:
        answer = client.get(url).json()
        pages.append([order["client_order_id"] for order in answer["results"]])
        url = answer[link]
    return pages


@pytest.fixture
def various(accept: Accept) -> None:
    """Four orders: two pending, one refused, one that the exchange has."""
    accept(client_order_id="plain")
    accept(client_order_id="limit", type="limit", side="sell", instrument="TSLA_2025_06", limit_price="1.00")
    refused, placed = accept(client_order_id="refused", side="sell"), accept(client_order_id="placed", instrument="US0378331005")
    now = timezone.now()
    events = lifecycle.failed(refused, ErrorCode.REFUSED_BY_EXCHANGE, "no", now)
    save_changes([refused, placed], [*events, *lifecycle.acknowledged(placed, "X1", now)])
    for days, own_id in enumerate(["plain", "limit", "refused", "placed"]):
        Order.objects.filter(client_order_id=own_id).update(created_at=START + timedelta(days=days))


@pytest.mark.usefixtures("various")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["placed", "refused", "limit", "plain"]),
        ({"status": "pending"}, ["limit", "plain"]),
        ({"status": ["failed", "completed"]}, ["placed", "refused"]),
        ({"status": "canceled"}, []),
        ({"execution_status": "new"}, ["placed"]),
        ({"execution_status": "filled"}, []),
        ({"type": "limit"}, ["limit"]),
        ({"type": ["limit", "market"]}, ["placed", "refused", "limit", "plain"]),
        ({"side": "buy"}, ["placed", "plain"]),
        ({"instrument": "AAPL_2025_03"}, ["refused", "plain"]),
        ({"instrument": "aapl_2025_03"}, ["refused", "plain"]),
        ({"instrument": "AAPL"}, []),
        ({"client_order_id": "limit"}, ["limit"]),
        ({"client_order_id": "lim"}, []),
        ({"created_after": "2030-01-02T00:00:00Z"}, ["placed", "refused"]),
        ({"created_before": "2030-01-02T00:00:00Z"}, ["plain"]),
        ({"created_after": "2030-01-02T00:30:00+01:00"}, ["placed", "refused", "limit"]),
        ({"created_after": "2030-01-02"}, ["placed", "refused"]),
        (
            {"created_after": "0001-01-01T00:00:00+14:00", "created_before": "9999-12-31T23:59:59-14:00"},
            ["placed", "refused", "limit", "plain"],
        ),
        (
            {"created_after": "2030-01-01T12:00:00Z", "created_before": "2030-01-03T12:00:00Z", "side": "sell"},
            ["refused", "limit"],
        ),
        ({"status": "pending", "side": "sell", "type": "limit", "instrument": "TSLA_2025_06"}, ["limit"]),
        ({"status": "pending", "execution_status": "new"}, []),
    ],
    ids=str,
)
def test_filters_combine(client: Any, filters: dict[str, Any], expected: list[str]) -> None:
    assert found(client, **filters) == expected


@pytest.mark.parametrize("name", ["statuss", "Status", "limit", "format", "offset", "account", "id", "", "é"])
def test_an_unknown_parameter_is_refused_by_name(client: Any, name: str) -> None:
    answer = client.get("/orders", {name: "pending"})
    message = f"There is no such parameter. The parameters are: {PARAMETERS}."
    assert (answer.status_code, answer.json()) == (400, {name: [message]})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, "wrong")
            for name in ("status", "execution_status", "type", "side", "created_after", "created_before", "page_size")
        ],
        *[(name, "") for name in PARAMETERS.split(", ")],
        *[(name, "a\0") for name in ("instrument", "client_order_id", "status", "created_after")],
        *[("page_size", value) for value in ("0", "501", "-1", "1.5", "1e2", "²", "000000500123", "9" * 5000)],
        ("instrument", "x" * 13),
        ("client_order_id", "x" * 65),
        ("created_after", "2030-02-31T00:00:00Z"),
        ("created_before", "10000-01-01T00:00:00Z"),
        ("created_after", "2030-01-02T00:00:00"),
        ("created_after", "2030-01-02 00:00"),
        ("status", "PENDING"),
    ],
)
def test_a_bad_value_is_refused_by_the_parameters_name(client: Any, name: str, value: str) -> None:
    answer = client.get("/orders", {name: value})
    assert (answer.status_code, list(answer.json())) == (400, [name])


@pytest.mark.parametrize("name", ["instrument", "client_order_id", "created_after", "page_size", "cursor"])
def test_a_parameter_with_one_value_cannot_have_two(client: Any, name: str) -> None:
    answer = client.get("/orders", {name: ["2030-01-01", "2030-01-02"]})
    assert answer.status_code == 400
    assert name in answer.json()


def test_pages_go_through_all_orders_once_while_new_ones_come_in(client: Any, accept: Accept) -> None:
    for number in range(120):
        accept(client_order_id=str(number))
    pages, url = [], "/orders"
    while url:
        answer = client.get(url).json()
        pages.append([order["client_order_id"] for order in answer["results"]])
        url = answer["next"]
        for late in range(3):
            accept(client_order_id=f"late {len(pages)} {late}")
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [own_id for page in pages for own_id in page] == [str(number) for number in reversed(range(120))]


def test_pages_can_be_walked_back(client: Any, accept: Accept) -> None:
    for number in range(7):
        accept(client_order_id=str(number))
    first = client.get("/orders?page_size=3").json()
    assert first["previous"] is None
    last = client.get(client.get(first["next"]).json()["next"]).json()
    assert [order["client_order_id"] for order in last["results"]] == ["0"]
    assert walk(client, last["previous"], "previous") == [["3", "2", "1"], ["6", "5", "4"]]


def test_the_next_page_keeps_filters_and_size(client: Any, accept: Accept) -> None:
    for number in range(10):
        accept(client_order_id=str(number), side="buy" if number % 2 else "sell")
    assert walk(client, "/orders?side=buy&page_size=2") == [["9", "7"], ["5", "3"], ["1"]]


@pytest.mark.parametrize(("given", "count"), [({}, 50), ({"page_size": "1"}, 1), ({"page_size": "500"}, 60)])
def test_a_page_has_50_orders_unless_asked_otherwise(client: Any, accept: Accept, given: dict[str, str], count: int) -> None:
    for _ in range(60):
        accept()
    assert len(client.get("/orders", given).json()["results"]) == count


def test_no_orders_are_an_empty_page(client: Any) -> None:
    answer = client.get("/orders")
    assert (answer.status_code, answer.json()) == (200, {"next": None, "previous": None, "results": []})


@pytest.mark.parametrize(
    "cursor",
    [
        "garbage",
        "%%%",
        "é",
        "====",
        "a",
        *[b64encode(text).decode() for text in (b"p=abc", b"p=", b"p=%00", b"o=5", b"o=-1", b"r=x", b"hi", b"\xff")],
    ],
)
def test_a_cursor_that_is_none_of_ours_is_not_found(client: Any, accept: Accept, cursor: str) -> None:
    accept()
    answer = client.get("/orders", {"cursor": cursor})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid cursor"})


def test_the_number_of_queries_does_not_grow_with_the_page(
    client: Any, accept: Accept, django_assert_max_num_queries: Any
) -> None:
    for _ in range(20):
        accept()
    with django_assert_max_num_queries(3):
        assert len(client.get("/orders").json()["results"]) == 20


def test_an_order_is_shown_with_its_whole_history(client: Any, accept: Accept, policy: PlacementPolicy) -> None:
    order = accept()
    now = timezone.now()
    lifecycle.begin_attempt(order, now, policy)
    events = lifecycle.not_taken(order, "busy", now, policy, cause=Cause(attempt=1, took_ms=12.5))
    events += lifecycle.acknowledged(order, venue.Acknowledged("X1").exchange_order_id, now, cause=Cause(attempt=2, took_ms=7.5))
    save_changes([order], events)
    shown = client.get(f"/orders/{order.id}").json()
    assert (shown["status"], shown["exchange_order_id"], shown["execution_status"]) == ("completed", "X1", "new")
    accepted, retrying, placed = shown["history"]
    assert [event["type"] for event in shown["history"]] == ["accepted", "retrying", "placed"]
    assert set(accepted) == {"event_id", "type", "occurred_at", "recorded_at", "data"}
    assert accepted["data"] == {}
    assert retrying["data"]["error_message"] == "The exchange did not take the order: busy"
    assert placed["data"] == {"exchange_order_id": "X1", "attempt": 2, "took_ms": 7.5}
    assert len({event["event_id"] for event in shown["history"]}) == 3


def test_an_order_that_failed_says_why(client: Any, accept: Accept) -> None:
    order = accept()
    save_changes([order], lifecycle.refused(order, "unknown instrument", timezone.now()))
    shown = client.get(f"/orders/{order.id}").json()
    assert (shown["status"], shown["error_code"]) == (Status.FAILED, ErrorCode.REFUSED_BY_EXCHANGE)
    assert shown["error_message"] == "The exchange refused the order: unknown instrument"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"limit_price": Decimal("250.5"), "expires_at": datetime(2030, 1, 1, 1, 2, 3, 4, tzinfo=UTC)},
        {"limit_price": Decimal("12345678901234567.89"), "average_price": Decimal("0.1"), "filled_quantity": 3},
        {"average_price": Decimal("1E2"), "placed_at": START, "exchange_order_id": "x-1"},
        {"error_code": "internal_error", "error_message": "why, ä", "status": "error", "execution_status": "new"},
        {"cancel_requested_at": START, "next_attempt_at": None, "attempt_count": 7},
    ],
    ids=str,
)
def test_an_order_is_shown_as_the_serializers_fields_would_show_it(accept: Accept, changes: dict[str, Any]) -> None:
    order = accept(type="limit", limit_price=Decimal("250.50"))
    for name, value in changes.items():
        setattr(order, name, value)
    by_fields = ModelSerializer.to_representation(OrderSerializer(), order)
    assert json.dumps(serialize_order(order)) == json.dumps(by_fields)


@pytest.mark.parametrize(
    "path",
    ["/orders/01890000-0000-7000-8000-000000000000", "/orders/1", "/orders/null", "/orders/", "/orders/%00", "/Orders", "/order"],
)
def test_what_does_not_exist_is_not_found(client: Any, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert b"Traceback" not in answer.content


def test_head_answers_like_get_without_a_body(client: Any, accept: Accept) -> None:
    for path in ("/orders", f"/orders/{accept().id}"):
        got, headed = client.get(path), client.head(path)
        assert (headed.status_code, headed.content) == (200, b"")
        assert headed.headers["Content-Length"] == str(len(got.content))


@pytest.mark.parametrize(
    "moment",
    # PostgreSQL knows no offset beyond 15:59, and a calendar ends.
    ["2625-08-24T14:22:43.689-20:39", "0365-11-10T03:24:23.97Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"],
)
@pytest.mark.parametrize("name", ["created_after", "created_before"])
def test_a_moment_at_the_edge_of_what_can_be_said_is_no_failure(account: Any, name: str, moment: str) -> None:
    assert client_for(account).get("/orders", {name: moment}).status_code == 200
