"""A change that makes an operation more expensive fails here, on any machine: nothing is timed.

Each number is pinned exactly. When a change is intended, adjust the number, and say in its comment what the work is for.
"""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from benchmarks.tests.costs import counted
from benchmarks.tests.reports import fill_report, open_orders
from exchange.gateway import Acknowledged
from infrastructure.database import clock
from orders.executions.reports import apply_reports
from orders.models import Order, new_event_id
from orders.order_entry.group_commit import PendingInsert, store_requests
from orders.order_entry.service import NewOrder, new_order
from orders.placement.attempts import Result, claim_due_orders, record
from orders.storage import as_json, order_row
from testsupport.api_calls import MARKET, client_for
from testsupport.placement import POLICY

# Each request with a token reads the token together with its user.
TOKEN_QUERIES = 1
TOKEN_READS = {"knox_authtoken": 1, "auth_user": 1}


@pytest.fixture
def api(account: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    # Without the token cache, each request looks up its token, however long a test takes.
    settings.TOKEN_CACHE_TTL = 0.0
    # Likewise without reading the clock, which takes one query a second for all orders of that second.
    monkeypatch.setattr(clock, "MEASURE_EVERY_S", 3600.0)
    client = client_for(account)
    # The first requests of a process fill its caches, and those of a connection prepare its statements.
    client.get("/orders?page_size=1")
    client.post("/orders", json.dumps(MARKET), content_type="application/json")
    return client


def test_accepting_one_order(api: Any) -> None:
    with counted() as cost:
        answer = api.post("/orders", json.dumps(MARKET), content_type="application/json")
    assert answer.status_code == 202
    # Halts and limits, the order, its first event and a wake-up: one statement, and a transaction of its own.
    assert cost.queries == cost.round_trips == TOKEN_QUERIES + 1
    assert cost.inserted == {"orders_order": 1, "orders_orderevent": 1, "django_q_ormq": 1}
    # Read to check the foreign keys of both rows: the account and the order. And one wake-up waits already.
    assert cost.read == {"knox_authtoken": 1, "auth_user": 1 + 2, "orders_order": 1, "django_q_ormq": 1}
    assert cost.updated == cost.deleted == {}


def test_accepting_one_order_of_a_client_that_is_known(api: Any, settings: Any) -> None:
    settings.TOKEN_CACHE_TTL = 3600.0
    with counted() as cost:
        answer = api.post("/orders", json.dumps(MARKET), content_type="application/json")
    assert answer.status_code == 202
    # The token was read by an earlier request, and nothing else is needed.
    assert cost.queries == cost.round_trips == 1
    assert cost.read == {"auth_user": 2, "orders_order": 1, "django_q_ormq": 1}
    assert cost.inserted == {"orders_order": 1, "orders_orderevent": 1, "django_q_ormq": 1}
    assert cost.updated == cost.deleted == {}


def test_accepting_orders_that_come_together_takes_no_more_round_trips_than_one(api: Any, account: Any) -> None:
    asked = [a_request(account.pk, f"c{number}") for number in range(20)]
    store_requests([a_request(account.pk, "c")])
    with counted() as cost:
        assert store_requests(asked) == {id for request in asked for id in request.ids}
    assert cost.queries == cost.round_trips == 1
    # No order is read to find that the client order ids are new: only 20 foreign keys of the events remain.
    # And one wake-up per worker waits already.
    assert cost.read == {"auth_user": 2 * 20, "orders_order": 20, "django_q_ormq": 2}
    assert cost.inserted == {"orders_order": 20, "orders_orderevent": 20}
    assert cost.updated == cost.deleted == {}


def a_request(account_id: int, client_order_id: str) -> PendingInsert:
    new = NewOrder(**MARKET, client_order_id=client_order_id)
    order = new_order(account_id, new, timezone.now(), POLICY)
    row = as_json([order_row(order) | {"event_id": new_event_id()}])
    return PendingInsert([order.id], account_id, [new.instrument], client_order_id, row)


def test_accepting_500_orders_takes_no_more_statements_than_one(api: Any) -> None:
    with counted() as cost:
        answer = api.post("/orders/batch", json.dumps([MARKET] * 500), content_type="application/json")
    assert answer.status_code == 202
    assert cost.queries == TOKEN_QUERIES + 1
    # All or none: between BEGIN and COMMIT.
    assert cost.round_trips == cost.queries + 2
    # One wake-up is enough for all of them.
    assert cost.inserted == {"orders_order": 500, "orders_orderevent": 500, "django_q_ormq": 1}
    # Foreign keys are checked row by row.
    assert cost.read == {"knox_authtoken": 1, "auth_user": 1 + 2 * 500, "orders_order": 500, "django_q_ormq": 1}
    assert cost.updated == cost.deleted == {}


def test_claiming_200_orders(old_orders: None, db: None) -> None:
    claim_due_orders(1, POLICY)  # This prepares the statements of this connection.
    with counted() as cost:
        claims = claim_due_orders(200, POLICY)
    assert len(claims) == 200
    # One to read the clock; one to lock the orders, one to read halts and one to write all orders, between BEGIN and COMMIT.
    assert cost.queries == 4
    assert cost.round_trips == 6
    # Each order is read once to lock and once to write it, and no other due order is read.
    assert cost.read == {"orders_order": 400}
    assert cost.updated == {"orders_order": 200}
    assert cost.inserted == cost.deleted == {}


def test_recording_200_results(old_orders: None, db: None) -> None:
    now = timezone.now()
    results = [
        Result(claim, Acknowledged(f"x-{claim.order.id}"), now, 0.5, now + timedelta(seconds=5))
        for claim in claim_due_orders(201, POLICY)
    ]
    record(results[200:], POLICY)
    with counted() as cost:
        record(results[:200], POLICY)
    # Lock, write, and one event each, between BEGIN and COMMIT.
    assert cost.queries == 3
    assert cost.round_trips == 5
    # Each order is read twice to lock and write it, and once for a foreign key of the event. Its other foreign key is the
    # account, which is read once more here because one transaction, the test's, changes the orders twice.
    assert cost.read == {"orders_order": 600, "auth_user": 400}
    assert cost.updated == {"orders_order": 200}
    assert cost.inserted == {"orders_orderevent": 200}
    assert cost.deleted == {}


def test_applying_500_reports(account: Any) -> None:
    reports = [fill_report(sequence, order) for sequence, order in enumerate(open_orders(501), start=1)]
    apply_reports(reports[:1], "session", "exchange", 1)
    with counted() as cost:
        apply_reports(reports[1:], "session", "exchange", 501)
    # Lock the orders, look for repeats, write orders, events, last prices and the feed's position, between BEGIN and COMMIT.
    assert cost.queries == 6
    assert cost.round_trips == 8
    assert cost.read == {"orders_order": 1500, "auth_user": 500, "orders_feedposition": 1, "orders_lastprice": 1}
    assert cost.updated == {"orders_order": 500, "orders_feedposition": 1, "orders_lastprice": 1}
    assert cost.inserted == {"orders_orderevent": 500}
    assert cost.deleted == {}


def test_reading_a_page_of_the_list(api: Any) -> None:
    with counted() as cost:
        answer = api.get("/orders?page_size=100")
    assert len(answer.json()["results"]) == 100
    assert cost.queries == cost.round_trips == TOKEN_QUERIES + 1
    # One row more than shown tells whether there is another page; the account's other orders are not read.
    assert cost.read == {**TOKEN_READS, "orders_order": 101}
    assert cost.inserted == cost.updated == cost.deleted == {}


def test_reading_one_order_with_its_history(api: Any, account: Any) -> None:
    order = Order.objects.filter(account=account, status="completed").latest("id")
    with counted() as cost:
        answer = api.get(f"/orders/{order.id}")
    assert [event["type"] for event in answer.json()["history"]] == ["accepted", "placed"]
    # The order, and its events.
    assert cost.queries == cost.round_trips == TOKEN_QUERIES + 2
    assert cost.read == {**TOKEN_READS, "orders_order": 1, "orders_orderevent": 2}
    assert cost.inserted == cost.updated == cost.deleted == {}
