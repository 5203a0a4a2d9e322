"""Look-ups that are answered oddly, or not at all: each concerns its order, and none is forgotten."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from exchange.http_gateway import HttpGateway
from exchange.reports import ReportType
from infrastructure.database_thread import DatabaseThread
from orders.executions.feed_positions import active_feed, load_position, look_up_open_orders
from orders.executions.gap_look_ups import ExchangeUnavailable, LookUps
from orders.executions.reports import apply_reports
from orders.models import Order
from orders.placement.attempts import record
from orders.tests.answering_exchange import AnsweringExchange, answering_exchange
from orders.tests.reporting import SESSION, report
from testsupport.placement import POLICY, claim_one, execute_at

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]
ODD: list[tuple[dict[str, Any], str]] = [
    (
        {"status": "partially_filled", "filled_quantity": 101, "average_price": "10"},
        "filled_quantity is 101, but 100 were ordered",
    ),
    ({"status": "filled", "filled_quantity": 30, "average_price": "10"}, "status is filled, but filled_quantity is 30 of 100"),
    ({"status": "partially_filled", "filled_quantity": 40, "average_price": "0"}, "average_price is not above 0"),
    (
        {"status": "partially_filled", "filled_quantity": 40, "average_price": "-1"},
        "average_price is not a decimal number in a string",
    ),
    ({"status": "partially_filled", "filled_quantity": 40}, "average_price is missing though something was filled"),
    ({"filled_quantity": "40"}, "filled_quantity is not a whole number of at least 0"),
    ({"status": "half done"}, "status is not one of"),
    ({"quantity": 200}, "the exchange has this id with other terms: quantity"),
    ({"account": "4711"}, "the exchange has this id with other terms: account"),
]


@pytest.fixture
def exchange() -> Iterator[AnsweringExchange]:
    with answering_exchange() as answering:
        yield answering


@pytest.fixture
def placed(accept: Accept) -> Callable[[], Order]:
    """An order that the exchange has acknowledged."""

    def place() -> Order:
        order = accept()
        apply_reports([report(order, 1, ReportType.NEW)], f"{SESSION}-{order.id}")
        order.refresh_from_db()
        return order

    return place


def with_look_ups(url: str, work: Callable[[LookUps], Awaitable[None]]) -> None:
    async def run() -> None:
        gateway, database = HttpGateway(url, timeout_s=5), DatabaseThread("test")
        try:
            await work(LookUps(gateway, active_feed(), database.run))
        finally:
            await gateway.close()
            await database.close()

    asyncio.run(run())


async def until_nothing_is_due(look_ups: LookUps) -> None:
    while await look_ups.look_up_some():
        pass


@pytest.mark.parametrize(("changes", "reason"), ODD)
def test_one_odd_answer_concerns_its_order_only(
    exchange: AnsweringExchange, placed: Callable[[], Order], changes: dict[str, Any], reason: str
) -> None:
    odd, other = placed(), placed()
    exchange.tell(odd, **changes)
    exchange.tell(other, status="partially_filled", filled_quantity=40, average_price="10")
    look_up_open_orders(active_feed(), timezone.now())
    with_look_ups(exchange.url, until_nothing_is_due)
    odd.refresh_from_db()
    other.refresh_from_db()
    assert odd.discrepancy is not None
    assert odd.discrepancy.startswith(reason)
    assert odd.look_up_at is not None
    assert odd.dead_letters.get().raw == exchange.answers[str(odd.id)][1].decode()
    assert (odd.filled_quantity, odd.execution_status) == (0, "new")
    assert (other.filled_quantity, other.discrepancy, other.look_up_at) == (40, None, None)
    assert load_position(active_feed()).look_up_open_after is None, "the look-up of all open orders is over"


def test_an_odd_answer_to_the_worker_s_look_up_proves_nothing_and_is_kept(exchange: AnsweringExchange, accept: Accept) -> None:

    order = accept()
    Order.objects.update(may_be_at_exchange=True, sent_valid_until=timezone.now())
    exchange.tell(order, status="filled", filled_quantity=30, average_price="10")
    record([execute_at(claim_one(), exchange.url)], POLICY)
    order.refresh_from_db()
    assert (order.status, order.may_be_at_exchange) == ("pending", True)
    assert order.discrepancy == "status is filled, but filled_quantity is 30 of 100"
    assert order.dead_letters.count() == 1


@pytest.mark.parametrize("broken", [(500, b"{}"), (200, b"{nonsense"), (200, b"[]"), (200, b'{"client_order_id": "another"}')])
def test_an_answer_that_nobody_can_read_is_asked_for_again_and_the_others_are_taken(
    exchange: AnsweringExchange, placed: Callable[[], Order], broken: tuple[int, bytes]
) -> None:
    odd, other = placed(), placed()
    exchange.answers[str(odd.id)] = broken
    exchange.tell(other, status="canceled")
    look_up_open_orders(active_feed(), timezone.now())
    with_look_ups(exchange.url, until_nothing_is_due)
    odd.refresh_from_db()
    other.refresh_from_db()
    assert odd.look_up_at is not None
    assert odd.discrepancy is None
    assert other.execution_status == "canceled"


def test_an_exchange_that_answers_nothing_is_asked_about_one_order_at_a_time(
    exchange: AnsweringExchange, placed: Callable[[], Order]
) -> None:
    orders = [placed() for _ in range(5)]
    exchange.usual = 503, b"{}"
    look_up_open_orders(active_feed(), timezone.now())

    async def fail_twice(look_ups: LookUps) -> None:
        with pytest.raises(ExchangeUnavailable, match="status 503"):
            await look_ups.look_up_some()
        assert len(exchange.asked) == len(orders)
        # They are due again, every one by a mark of its own.
        assert await look_ups.run_in_database(Order.objects.filter(look_up_at__isnull=False).count) == len(orders)
        await look_ups.run_in_database(lambda: Order.objects.update(look_up_at=timezone.now()))
        exchange.asked.clear()
        look_ups.backoff.failures = 1
        for _ in range(2):
            with pytest.raises(ExchangeUnavailable):
                await look_ups.look_up_some()
        assert len(exchange.asked) == 2, "each time another"

    with_look_ups(exchange.url, fail_twice)
    exchange.usual = None
    for order in orders:
        exchange.tell(order, status="canceled")
    Order.objects.update(look_up_at=timezone.now())
    with_look_ups(exchange.url, until_nothing_is_due)
    assert Order.objects.filter(execution_status="canceled", look_up_at=None).count() == len(orders)


def test_a_crash_in_the_middle_of_all_look_ups_forgets_none(
    exchange: AnsweringExchange, placed: Callable[[], Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [placed() for _ in range(5)]
    for order in orders:
        exchange.tell(order, status="canceled")
    monkeypatch.setattr("orders.executions.gap_look_ups.ORDERS_AT_ONCE", 2)
    look_up_open_orders(active_feed(), timezone.now())

    async def one_page(look_ups: LookUps) -> None:
        await look_ups.look_up_some()

    with_look_ups(exchange.url, one_page)
    assert Order.objects.filter(execution_status="canceled").count() == 2
    with_look_ups(exchange.url, until_nothing_is_due)
    assert Order.objects.filter(execution_status="canceled").count() == 5
    assert max(exchange.asked.values()) == 1


def test_orders_that_were_accepted_after_the_loss_are_not_looked_up_for_it(
    exchange: AnsweringExchange, placed: Callable[[], Order]
) -> None:
    before = placed()
    look_up_open_orders(active_feed(), timezone.now())
    exchange.tell(before, status="canceled")

    async def place_one_meanwhile(look_ups: LookUps) -> None:
        await look_ups.look_up_some()
        await look_ups.run_in_database(placed)
        await until_nothing_is_due(look_ups)

    with_look_ups(exchange.url, place_one_meanwhile)
    assert list(exchange.asked) == [str(before.id)]


def test_reconcile_shows_an_odd_answer_and_goes_on(
    exchange: AnsweringExchange, placed: Callable[[], Order], settings: Any
) -> None:
    settings.EXCHANGE_URL = exchange.url
    odd, other, gone = placed(), placed(), placed()
    exchange.tell(odd, status="partially_filled", filled_quantity=101, average_price="10")
    exchange.tell(other, status="partially_filled", filled_quantity=40, average_price="10")
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("reconcile", "--apply", "--json", stdout=out)
    found = {one["order_id"]: (one["there"], one["can_be_mended"]) for one in json.loads(out.getvalue())["differences"]}
    assert found == {
        str(odd.id): ("filled_quantity is 101, but 100 were ordered", False),
        str(other.id): ("completed partially_filled 40 of 100 at 10.00000000", True),
        str(gone.id): ("not there", False),
    }
    for order in (odd, other, gone):
        order.refresh_from_db()
    assert (odd.discrepancy is not None, other.filled_quantity, gone.absent_since is not None) == (True, 40, True)
