"""Whoever waited for a lock while a halt began is refused as if they had come later."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from orders.models import Order
from orders.order_entry.service import Accepted, NewOrder, TradingHalted, accept_orders, new_order
from orders.placement.manual_retry import Retried, retry_orders
from orders.risk.limits import change_limits, lock_limits
from orders.risk.switches import release_orders
from orders.tests.desk import refuse
from orders.tests.halting import halt, resume
from testsupport.api_calls import MARKET, stored
from testsupport.placement import POLICY
from testsupport.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]


@contextmanager
def another_transaction(do: Callable[[], object]) -> Iterator[None]:
    """One that has done something, is open as long as the block lasts, and is rolled back then."""
    done, ending = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                do()
                done.set()
                ending.wait()
                transaction.set_rollback(True)
        finally:
            done.set()
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        done.wait()
        try:
            yield
        finally:
            ending.set()
        holding.result()


def in_thread(pool: ThreadPoolExecutor, do: Callable[[], Any]) -> Future[Any]:
    def run() -> Any:
        try:
            return do()
        finally:
            connection.close()

    return pool.submit(run)


def someone_waits() -> bool:
    """For longer than the first, impatient attempt to store an order does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
            " AND clock_timestamp() - query_start > '200ms' AND datname = current_database()"
        )
        [(count,)] = cursor.fetchall()
    return bool(count)


def new_one(**terms: Any) -> NewOrder:
    return NewOrder(**MARKET | terms)


def test_an_order_that_waited_for_the_accounts_limits_is_refused(account: Any) -> None:
    change_limits(account, "emil", "new client", open_orders=10)
    with ThreadPoolExecutor(1) as pool:
        with another_transaction(lambda: lock_limits(account.pk)):
            waiting: Future[Accepted] = in_thread(pool, lambda: accept_orders(account.pk, [new_one()]))
            wait_until(someone_waits)
            begun = halt(account=account)
        with pytest.raises(TradingHalted) as refusal:
            waiting.result()
    assert refusal.value.halts == [begun]
    assert stored()["orders"] == 0


def test_an_order_that_waited_for_another_with_its_id_is_refused(account: Any) -> None:
    first, second = new_one(client_order_id="c1"), new_one(client_order_id="c1")

    def store_first() -> None:
        new_order(account.pk, first, timezone.now(), POLICY).save()

    with ThreadPoolExecutor(1) as pool:
        with another_transaction(store_first):
            waiting: Future[Accepted] = in_thread(pool, lambda: accept_orders(account.pk, [second]))
            wait_until(someone_waits)
            begun = halt(instrument=MARKET["instrument"])
        with pytest.raises(TradingHalted) as refusal:
            waiting.result()
    assert refusal.value.by_index == {0: begun}
    assert stored() == {"orders": 0, "events": 0, "wake_ups": 0}


def test_a_retry_that_waited_for_the_accounts_limits_is_passed_over(account: Any, accept: Accept) -> None:
    order = refuse(accept())
    change_limits(account, "emil", "known by now", open_orders=10)
    with ThreadPoolExecutor(1) as pool:
        with another_transaction(lambda: lock_limits(account.pk)):
            waiting: Future[Retried] = in_thread(pool, lambda: retry_orders([order.id], "dora"))
            wait_until(someone_waits)
            halt()
        assert waiting.result().passed_over == {order.id: "cannot be sent while trading is halted"}
    resume()
    release_orders()
    assert retry_orders([order.id], "dora").sent == [order.id]
