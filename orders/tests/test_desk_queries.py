"""No page of the order desk reads a table of orders or events from end to end; PostgreSQL says so itself."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from orders.admin.minute_counts import CACHE_KEY
from orders.models import Order
from orders.tests.desk import LIST

pytestmark = pytest.mark.django_db

# As a desk has them: nearly all are completed, over two days, of five instruments and mostly of one account.
ORDERS = """
    INSERT INTO orders_order (
        id, account_id, client_order_id, created_at, updated_at, type, side, instrument, quantity, status, error_code,
        error_message, attempt_count, next_attempt_at, give_up_at, may_be_at_exchange, sent_valid_until, exchange_order_id,
        placed_at, execution_status, filled_quantity, filled_value)
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || left(md5(n::text), 3) || 'a'
               || right(md5(n::text), 15))::uuid,
           CASE WHEN n % 500 = 0 THEN %(rare)s ELSE %(often)s END,
           'client-' || n, at, at, 'market', 'buy',
           CASE WHEN n % 700 = 0 THEN 'RARE_2025_03' ELSE 'OFTEN2025_0' || n % 5 END, 100, status,
           CASE status WHEN 'failed' THEN 'refused_by_exchange' WHEN 'error' THEN 'outcome_unknown' END,
           CASE WHEN status IN ('failed', 'error') THEN 'no' END, 1,
           CASE WHEN status IN ('pending', 'error') THEN at END, at + interval '15 min', status = 'error',
           CASE WHEN status = 'error' THEN at END, CASE WHEN status = 'completed' THEN 'X-' || n END,
           CASE WHEN status = 'completed' THEN at + interval '1 s' END, CASE WHEN status = 'completed' THEN 'new' END, 0, 0
      FROM generate_series(1, 100000) AS n,
           LATERAL (SELECT now() - n * interval '2 s' AS at,
                           CASE WHEN n % 300 = 1 THEN 'failed' WHEN n % 400 = 2 THEN 'error' WHEN n % 200 = 3 THEN 'pending'
                                WHEN n % 600 = 4 THEN 'canceled' ELSE 'completed' END AS status) AS made"""
EVENTS = """
    INSERT INTO orders_orderevent (event_id, order_id, account_id, type, data, occurred_at, recorded_at)
    SELECT gen_random_uuid(), o.id, o.account_id, kind, '{}', o.created_at, o.created_at + interval '1 s'
      FROM orders_order AS o,
           LATERAL unnest(ARRAY['accepted', CASE o.status WHEN 'completed' THEN 'placed' WHEN 'pending' THEN 'retrying'
                                            WHEN 'canceled' THEN 'canceled' ELSE o.status END]) AS kind"""


@pytest.fixture(scope="module", autouse=True)
def many_orders(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Made once for all tests here, in seconds, and so outside of the transaction that each of them is rolled back with."""
    cache.delete(CACHE_KEY)
    with django_db_blocker.unblock():
        users = get_user_model().objects
        accounts = {name: users.create_user(name).pk for name in ("often", "rare")}
        with connection.cursor() as cursor:
            cursor.execute(ORDERS.replace("n % ", "n %% "), accounts)
            cursor.execute(EVENTS)
            cursor.execute("VACUUM ANALYZE orders_order, orders_orderevent")
    yield
    cache.delete(CACHE_KEY)
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE orders_order, orders_orderevent CASCADE")
        users.filter(username__in=accounts).delete()


def whole_tables_read(client: Client, path: str) -> list[str]:
    """The queries that the page at `path` makes and that read all orders or all events, each with its plan."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    queries = [query["sql"] for query in captured.captured_queries if re.search(r"orders_order(event)?\b", query["sql"])]
    assert queries
    return [f"{sql}\n{json.dumps(plan, indent=1)}" for sql in queries if reads_whole_table(plan := explain(sql))]


def explain(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT JSON) " + sql)
        [[[plan]]] = cursor.fetchall()
    return plan["Plan"]


def reads_whole_table(plan: Any) -> bool:
    is_whole = plan["Node Type"] == "Seq Scan" and plan["Relation Name"] in {"orders_order", "orders_orderevent"}
    return is_whole or any(reads_whole_table(part) for part in plan.get("Plans", []))


def test_the_landing_page_reads_no_whole_table(viewer: Client) -> None:
    assert whole_tables_read(viewer, "/admin/") == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        "p=3",
        "status__exact=failed",
        "status__exact=error",
        "status__exact=pending",
        "status__exact=canceled",
        "status__exact=completed",
        "status__exact=error&error_code__exact=outcome_unknown",
        "error_code__exact=refused_by_exchange",
        "attention=person",
        "attention=due",
        "created_at_from_0=2030-01-31&created_at_from_1=00:00:00",
        "q=client-77",
        "q=X-77",
        "q=RARE_2025_03",
        "q=OFTEN2025_01",
        "q=rare",
        "q=often",
        "q=rare&status__exact=failed",
        "q=nothing",
    ],
)
def test_the_list_reads_no_whole_table(viewer: Client, query: str) -> None:
    assert whole_tables_read(viewer, f"{LIST}?{query}") == []


def test_a_search_by_id_and_the_page_of_an_order_read_no_whole_table(viewer: Client) -> None:
    order = Order.objects.order_by("id")[50_000]
    for path in (f"{LIST}?q={order.id}", f"{LIST}{order.id}/change/"):
        assert whole_tables_read(viewer, path) == []


def test_a_query_that_reads_a_whole_table_is_noticed() -> None:
    assert reads_whole_table(explain("SELECT * FROM orders_order WHERE error_message = 'no'"))
    assert Order.objects.count() == 100_000
