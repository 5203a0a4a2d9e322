"""No page of the order desk reads orders or events from end to end; PostgreSQL says how many it met."""

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
from orders.capped_count import MAX_COUNTED
from orders.models import Order
from orders.tests.desk import LIST

pytestmark = pytest.mark.django_db

ORDERS_A_DAY = 24 * 60 * 60 // 2
# As a desk has them after a bad day: three in ten have failed, nearly all others are completed, over two days, of five
# instruments and mostly of one account.
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
                           CASE WHEN n % 10 IN (1, 5, 9) THEN 'failed' WHEN n % 400 = 2 THEN 'error'
                                WHEN n % 200 = 3 THEN 'pending'
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
        # A connection keeps its plan for a foreign key. One made while the table was tiny would scan all orders for each event.
        connection.close()
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


def greedy_queries(client: Client, path: str, max_rows: int) -> list[str]:
    """The queries of the page at `path` that read more than `max_rows` orders or events, each with its plan.

    A scan of a whole index whose rows are then thrown away is no better than one of the table, so it is the rows that are
    counted, as PostgreSQL met them.
    """
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    queries = [query["sql"] for query in captured.captured_queries if re.search(r"orders_order(event)?\b", query["sql"])]
    assert queries
    return [f"{sql}\n{json.dumps(plan, indent=1)}" for sql in queries if rows_read(plan := explain(sql)) > max_rows]


def explain(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql)
        [[[plan]]] = cursor.fetchall()
    return plan["Plan"]


def rows_read(plan: Any) -> float:
    own = 0.0
    if plan.get("Relation Name") in {"orders_order", "orders_orderevent"}:
        own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return own + sum(rows_read(part) for part in plan.get("Plans", []))


def test_the_landing_page_reads_few_rows(viewer: Client) -> None:
    # Once the minutes of the last day are counted, which is done once after a start.
    viewer.get("/admin/")
    # Of the 30,000 that have failed.
    assert greedy_queries(viewer, "/admin/", max_rows=MAX_COUNTED + 1) == []


def test_the_minutes_of_a_day_are_counted_from_that_days_rows(viewer: Client) -> None:
    cache.delete(CACHE_KEY)
    assert greedy_queries(viewer, "/admin/", max_rows=2 * ORDERS_A_DAY + MAX_COUNTED + 1) == []


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
        "attention=operator",
        "attention=due",
        "created_at_from_0=2030-01-31&created_at_from_1=00:00:00",
        "q=client-77",
        "q=X-77",
        "q=RARE_2025_03",
        "q=rare",
        "q=often",
        "q=rare&status__exact=failed",
        "q=nothing",
    ],
)
def test_the_list_reads_little_more_than_it_counts(viewer: Client, query: str) -> None:
    assert greedy_queries(viewer, f"{LIST}?{query}", max_rows=16_000) == []


def test_a_filter_by_error_reads_no_completed_order(viewer: Client) -> None:
    not_completed = Order.objects.exclude(status="completed").count()
    assert greedy_queries(viewer, f"{LIST}?error_code__exact=refused_by_exchange", max_rows=not_completed) == []


def test_a_search_for_what_many_orders_have_stops_when_enough_are_found(viewer: Client) -> None:
    """Every fifth order is of this instrument, so that about 50,000 are met until 10,000 are counted, however many there are."""
    assert greedy_queries(viewer, f"{LIST}?q=OFTEN2025_01", max_rows=55_000) == []


def test_a_search_by_id_and_the_page_of_an_order_read_nothing_else(viewer: Client) -> None:
    order = Order.objects.order_by("id")[50_000]
    for path in (f"{LIST}?q={order.id}", f"{LIST}{order.id}/change/"):
        # Plans differ in how often they meet the one order, which is found by several of its columns.
        assert greedy_queries(viewer, path, max_rows=10) == []


def test_a_query_that_reads_a_whole_table_is_noticed() -> None:
    assert rows_read(explain("SELECT * FROM orders_order WHERE error_message = 'no'")) == Order.objects.count() == 100_000
