"""Each frequent query finds its rows among 150,000 orders by an index, and reads few others."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.utils import timezone

from benchmarks.tests.costs import Scan, scans
from benchmarks.tests.reports import fill_report, open_orders
from exchange.gateway import Acknowledged
from orders.events.stream import (
    FROM_THE_BEGINNING,
    StreamPosition,
    current_snapshot,
    encoded_events,
    events_after,
    last_event_id,
    position_after,
)
from orders.executions.feed_positions import open_at_exchange
from orders.executions.gap_look_ups import page_of
from orders.executions.reports import apply_reports
from orders.models import NEEDS_OPERATOR, Order, OrderEvent
from orders.operations import system_status
from orders.order_entry.service import NewOrder, accept_orders
from orders.placement.attempts import Result, claim_due_orders, finish_overdue_orders, put_waiting_orders_back, record
from orders.placement.sweep import oldest_due_order
from orders.states import Status
from testsupport.api_calls import client_for
from testsupport.placement import POLICY

NEW = 300
ORDERS, EVENTS = "orders_order", "orders_orderevent"
BY_EVENT_ID = "order_event_id_once"
BY_TX = ("order_event_by_tx", "order_event_by_account_tx")


def reads(operation: Callable[[], object], table: str) -> list[Scan]:
    found = [scan for scan in scans(operation) if scan.table == table]
    assert found, f"nothing is read from {table}"
    return found


def assert_found_by(operation: Callable[[], object], table: str, *indexes: str, rows: int) -> None:
    """Assert that each scan of the table uses one of the indexes, and reads at most `rows` rows."""
    for scan in reads(operation, table):
        assert scan.indexes, f"no index: {scan}"
        assert scan.indexes <= set(indexes), f"another index: {scan}"
        assert scan.rows <= rows, f"too many rows: {scan}"


def test_a_claim_reads_due_orders_only(old_orders: None, db: None) -> None:
    assert_found_by(lambda: claim_due_orders(200, POLICY), ORDERS, "order_due", "orders_order_pkey", rows=200)


def test_recording_reads_its_own_orders_only(old_orders: None, db: None) -> None:
    now = timezone.now()
    results = [
        Result(claim, Acknowledged(f"x-{claim.order.id}"), now, 0.5, now + timedelta(seconds=5))
        for claim in claim_due_orders(200, POLICY)
    ]
    assert_found_by(lambda: record(results, POLICY), ORDERS, "orders_order_pkey", rows=200)


def test_applying_reports_reads_their_orders_and_nothing_of_the_history(account: Any) -> None:
    reports = [fill_report(sequence, order) for sequence, order in enumerate(open_orders(500), start=1)]

    def apply() -> None:
        apply_reports(reports, "session", "exchange", 500)

    assert_found_by(apply, ORDERS, "orders_order_pkey", rows=500)
    assert_found_by(apply, EVENTS, BY_EVENT_ID, rows=500)


def test_the_list_reads_one_page(account: Any) -> None:
    client = client_for(account)
    assert_found_by(lambda: client.get("/orders?page_size=100"), ORDERS, "order_by_account", rows=101)


def test_the_list_of_an_account_with_a_tenth_of_all_orders_reads_one_page(account: Any) -> None:
    client = client_for(type(account).objects.get(username="old-large"))
    assert_found_by(lambda: client.get("/orders?page_size=100"), ORDERS, "order_by_account", rows=101)


def test_one_order_is_found_by_its_id_and_its_events_by_the_order(account: Any) -> None:
    client, order = client_for(account), Order.objects.filter(account=account).latest("id")

    def get() -> None:
        client.get(f"/orders/{order.id}")

    assert_found_by(get, ORDERS, "orders_order_pkey", "order_by_account", rows=1)
    assert_found_by(get, EVENTS, "order_event_history", rows=2)


def test_a_known_client_order_id_is_found_by_its_index(account: Any) -> None:
    order = Order.objects.filter(account=account).latest("id")
    client = client_for(account)
    assert_found_by(
        lambda: client.get(f"/orders?client_order_id={order.client_order_id}"),
        ORDERS,
        "one_order_per_client_order_id",
        rows=1,
    )


def test_accepting_looks_at_no_other_order(account: Any) -> None:
    terms = NewOrder(type="market", side="buy", instrument="AAPL_2025_03", quantity=100, client_order_id="new")
    assert [scan for scan in scans(lambda: accept_orders(account.pk, [terms])) if scan.table == ORDERS] == []


def test_the_sweep_looks_at_one_due_order(old_orders: None, db: None) -> None:
    assert_found_by(oldest_due_order, ORDERS, "order_due", rows=1)


def test_overdue_orders_are_found_among_those_that_wait(old_orders: None, db: None) -> None:
    late = Order.objects.filter(status="pending").order_by("id")[:20]
    Order.objects.filter(id__in=list(late.values_list("id", flat=True))).update(give_up_at=timezone.now() - timedelta(seconds=1))
    assert_found_by(finish_overdue_orders, ORDERS, "order_give_up", "order_held", "orders_order_pkey", "order_due", rows=20)


def test_an_outage_puts_back_those_that_wait_and_reads_no_others(old_orders: None, db: None) -> None:
    waiting = Order.objects.filter(next_attempt_at__isnull=False).count()
    assert_found_by(put_waiting_orders_back, ORDERS, "order_due", "orders_order_pkey", rows=waiting)


def test_reconciling_reads_open_orders_only(account: Any) -> None:
    first = Order.objects.earliest("id").id
    assert_found_by(lambda: page_of(open_at_exchange(), first), ORDERS, "order_open_at_exchange", rows=1000)


def test_the_live_stream_reads_new_events_only(account: Any) -> None:
    before = StreamPosition(current_snapshot())
    request = NewOrder(type="market", side="buy", instrument="AAPL_2025_03", quantity=100)
    accept_orders(account.pk, [request] * NEW)
    assert_found_by(lambda: events_after(before), EVENTS, "order_event_by_tx", rows=NEW)
    assert_found_by(lambda: events_after(before, [account.pk]), EVENTS, *BY_TX, rows=NEW)


def test_messages_are_made_from_their_own_rows(old_orders: None, db: None) -> None:
    ids = list(OrderEvent.objects.order_by("-id").values_list("id", flat=True)[:NEW])
    assert_found_by(lambda: encoded_events(ids), EVENTS, "orders_orderevent_pkey", rows=NEW)
    assert_found_by(lambda: encoded_events(ids), ORDERS, "orders_order_pkey", rows=NEW)


def test_a_client_resumes_from_one_event(account: Any) -> None:
    event = OrderEvent.objects.filter(account=account).latest("id")
    assert_found_by(lambda: position_after(event.event_id, account.pk), EVENTS, BY_EVENT_ID, rows=1)
    assert_found_by(lambda: last_event_id(current_snapshot(), account.pk), EVENTS, *BY_TX, rows=10_000)


def test_a_client_resumes_from_an_event_that_came_back_with_a_backup(account: Any) -> None:
    last = OrderEvent.objects.latest("id").pk
    position = StreamPosition(FROM_THE_BEGINNING.snapshot, after_id=last - NEW)
    # Every reader also finds the newest event of all.
    assert_found_by(lambda: events_after(position), EVENTS, "orders_orderevent_pkey", "order_event_by_tx", rows=NEW)


def test_metrics_read_what_is_open_and_what_happened_in_the_last_minute(account: Any) -> None:
    now = timezone.now()
    assert_found_by(lambda: system_status.queue_age_s(now), ORDERS, "order_due", rows=1)
    for status in (Status.FAILED, Status.ERROR):
        of_the_desk = ("order_needs_operator", "order_not_completed")
        assert_found_by(
            partial(system_status.needing_operator, status),
            ORDERS,
            *of_the_desk,
            rows=Order.objects.filter(NEEDS_OPERATOR).count(),
        )
    lately = OrderEvent.objects.filter(recorded_at__gt=now - system_status.LATELY).count()
    assert_found_by(lambda: system_status.outcomes_lately(now), EVENTS, "order_event_outcome", rows=lately)
