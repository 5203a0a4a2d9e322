"""Reports that contradict one another, or what is known of their order: none counts, and their order is looked up."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from exchange.reports import BadReport, ExecutionReport, ReportType, parse_frame
from orders.executions.feed_positions import active_feed
from orders.executions.reports import apply_reports
from orders.models import FeedPosition, LastPrice, Order
from orders.placement.cancel import cancel_order
from orders.states import ExecutionStatus, Status
from orders.tests.reporting import FILLED, SESSION, report, three_reports, totals
from testsupport.placement import claim_one

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]
PARTIALLY_FILLED, CANCELED = ReportType.PARTIALLY_FILLED, ReportType.CANCELED


def assert_flagged(order: Order, reason: str) -> None:
    order.refresh_from_db()
    assert order.discrepancy == reason
    assert order.look_up_at is not None
    assert order.look_up_at <= timezone.now()
    assert [kept.reason for kept in order.dead_letters.all()] == [reason]


def assert_not_flagged(order: Order) -> None:
    order.refresh_from_db()
    assert (order.discrepancy, order.dead_letters.count()) == (None, 0)


@pytest.mark.parametrize(
    ("first", "second", "filled", "reason"),
    [
        # The same fill under a second execution id.
        ((30, 30), (30, 30), 30, "an earlier report filled some of its units 1 to 30"),
        # A correction, which this protocol has no words for.
        ((50, 50), (40, 40), 50, "an earlier report filled some of its units 1 to 40"),
        ((50, 50), (30, 60), 50, "an earlier report filled some of its units 31 to 60"),
        ((50, 50), (60, 110), 50, "more would be filled than was ordered"),
    ],
    ids=["twice", "corrected", "overlapping", "too much"],
)
def test_a_fill_counts_each_unit_once(
    accept: Accept, first: tuple[int, int], second: tuple[int, int], filled: int, reason: str
) -> None:
    order, other = accept(), accept()
    reports = [
        report(order, number, PARTIALLY_FILLED, last, total=total) for number, (last, total) in enumerate([first, second], 1)
    ]
    apply_reports([*reports, report(other, 3, PARTIALLY_FILLED, 10)], SESSION)
    assert totals(order)[2:] == (filled, 10 * filled, 10)
    assert_flagged(order, reason)
    assert totals(other)[2] == 10
    assert_not_flagged(other)
    apply_reports(reports, SESSION)
    assert totals(order)[2] == filled
    assert order.dead_letters.count() == 1, "a report that comes again is kept once"


def test_a_contradiction_that_comes_again_after_it_was_settled_is_not_looked_into_again(accept: Accept) -> None:
    order = accept()
    twice = [report(order, number, PARTIALLY_FILLED, 30) for number in (1, 2)]
    apply_reports(twice, SESSION)
    Order.objects.update(discrepancy=None, look_up_at=None)
    apply_reports(twice, SESSION)
    order.refresh_from_db()
    assert (order.discrepancy, order.look_up_at) == (None, None)


def test_fills_in_order_need_no_query_of_their_own(accept: Accept, django_assert_max_num_queries: Any) -> None:
    order = accept()
    apply_reports(three_reports(order)[:1], SESSION)
    # Savepoint and its release, lock, known events, order and event, last price.
    with django_assert_max_num_queries(7):
        apply_reports(three_reports(order)[1:], SESSION)
    assert totals(order) == FILLED


def test_filled_with_less_than_was_ordered_is_no_partial_fill(accept: Accept) -> None:
    order = accept()
    apply_reports([report(order, 1, ReportType.FILLED, 30)], SESSION)
    assert totals(order)[:3] == (Status.PENDING, None, 0)
    assert_flagged(order, "reported as filled with 30 of 100")


@pytest.mark.parametrize("end", [CANCELED, ReportType.EXPIRED, ReportType.REJECTED])
def test_an_end_with_less_than_was_filled_is_a_contradiction(accept: Accept, end: ReportType) -> None:
    order = accept()
    apply_reports([report(order, 1, PARTIALLY_FILLED, 40), report(order, 2, end, total=30)], SESSION)
    assert totals(order)[1:3] == (ExecutionStatus.PARTIALLY_FILLED, 40)
    assert_flagged(order, "it ends with 30 filled, but 40 already are")


@pytest.mark.parametrize("last", ["canceled", "filled"])
def test_a_fill_that_was_lost_before_the_end_is_looked_up_after_a_moment(accept: Accept, last: str) -> None:
    """Its frame could not be read, say; nobody visits an order again that has ended."""
    order = accept()
    apply_reports([report(order, 1, ReportType.NEW), report(order, 2, PARTIALLY_FILLED, 30)], SESSION)
    ends = {
        "canceled": report(order, 4, CANCELED, total=60),
        "filled": report(order, 4, ReportType.FILLED, 40, total=100),
    }
    before = timezone.now()
    apply_reports([ends[last]], SESSION)
    assert totals(order)[2] == {"canceled": 30, "filled": 70}[last]
    assert order.look_up_at is not None
    assert order.look_up_at > before
    assert order.discrepancy is None, "it may only be late"
    missing = report(order, 3, PARTIALLY_FILLED, 30, total=60)
    apply_reports([missing], SESSION)
    assert totals(order)[1:3] == {"canceled": ("canceled", 60), "filled": ("filled", 100)}[last]


def test_reports_of_a_market_order_count_the_same_in_any_order(accept: Accept) -> None:
    """Four fills at four prices, and what became of them by each of 24 ways."""
    steps = [(10, 10, "10.01"), (20, 30, "10.02"), (30, 60, "10.03"), (40, 100, "10.04")]
    for order_of_reports in itertools.permutations(range(4)):
        order = accept()
        fills = [
            report(
                order,
                number,
                ReportType.FILLED if total == 100 else PARTIALLY_FILLED,
                last,
                price,
                total=total,
                average={10: "10.01", 30: "10.01666667", 60: "10.02333333", 100: "10.03"}[total],
            )
            for number, (last, total, price) in enumerate(steps)
        ]
        for index in order_of_reports:
            apply_reports([fills[index]], f"{SESSION}{order.id}")
        assert totals(order) == (Status.COMPLETED, ExecutionStatus.FILLED, 100, Decimal("1003.00"), Decimal("10.03"))
        assert_not_flagged(order)


@pytest.mark.parametrize(("told", "is_flagged"), [("10.60", False), ("10.6", False), ("11", False), ("10.61", True)])
def test_an_average_that_is_not_that_of_the_fills_is_a_contradiction(accept: Accept, told: str, is_flagged: bool) -> None:
    order = accept()
    new, partial, filled = three_reports(order)
    apply_reports([new, partial, replace(filled, average_price=Decimal(told))], SESSION)
    assert totals(order) == FILLED, "last price and quantity say what the fill was"
    assert (order.discrepancy is not None) is is_flagged


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"account": "4711"}, "the order belongs to account {}, but the report names 4711"),
        ({"exchange_order_id": "X2"}, "the order's id at the exchange is X1"),
    ],
)
def test_a_report_in_whose_words_the_order_is_another_one_is_a_dead_letter(
    accept: Accept, change: dict[str, str], reason: str
) -> None:
    order = accept()
    apply_reports([report(order, 1, ReportType.NEW)], SESSION)
    apply_reports([replace(report(order, 2, PARTIALLY_FILLED, 40), **change)], SESSION)
    assert totals(order)[2] == 0
    assert_flagged(order, reason.format(order.account_id))


@pytest.mark.parametrize(
    ("change", "is_repeat"), [({}, True), ({"last_price": Decimal(11)}, False), ({"last_quantity": 20}, False)]
)
def test_an_execution_id_stands_for_one_fill(accept: Accept, change: dict[str, Any], is_repeat: bool) -> None:
    order = accept()
    first = report(order, 1, PARTIALLY_FILLED, 40)
    apply_reports([first], SESSION)
    apply_reports([replace(first, sequence=2, **change)], SESSION)
    assert totals(order)[2] == 40
    assert (order.discrepancy is None) is is_repeat


def frame(order: Order, **changes: Any) -> bytes:
    fill = {"last_quantity": 40, "last_price": "10.00", "filled_quantity": 40, "average_price": "10.00", "reason": None}
    names = {"client_order_id": str(order.id), "exchange_order_id": "X1", "account": str(order.account_id)}
    named = {"sequence": 2, "execution_id": "e2", "type": "partially_filled", "occurred_at": "2030-01-01T00:00:00Z"}
    return json.dumps(names | named | fill | changes).encode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"last_price": "0"}, "last_price is not above 0"),
        ({"last_price": "0.00000000"}, "last_price is not above 0"),
        ({"last_price": "-1"}, "last_price is not a decimal number in a string"),
        ({"average_price": "0"}, "average_price is not above 0"),
        ({"last_quantity": "40"}, "last_quantity is not a whole number of at least 1"),
    ],
)
def test_a_frame_that_cannot_be_read_has_the_order_that_it_names_looked_up(
    accept: Accept, changes: dict[str, Any], reason: str
) -> None:
    order = accept()
    bad = parse_frame(frame(order, **changes))
    assert isinstance(bad, BadReport)
    apply_reports([report(order, 1, ReportType.NEW), bad], SESSION)
    assert_flagged(order, reason)
    assert not FeedPosition.objects.filter(look_up_open_at__isnull=False).exists()


def test_an_average_of_0_before_any_fill_is_what_fix_says(accept: Accept) -> None:
    order = accept()
    document = {"type": "new", "last_quantity": None, "last_price": None, "filled_quantity": 0, "average_price": "0"}
    new = parse_frame(frame(order, **document))
    assert isinstance(new, ExecutionReport)
    apply_reports([new], SESSION)
    assert totals(order)[:2] == (Status.COMPLETED, ExecutionStatus.NEW)


def test_frames_that_name_no_order_have_the_open_orders_looked_up_once_a_minute(accept: Accept) -> None:
    garbage = BadReport("{", "not JSON", None)
    for _ in range(3):
        apply_reports([garbage], SESSION)
    position = FeedPosition.objects.get(feed=active_feed())
    assert position.look_up_open_at is not None
    assert position.look_up_open_at <= timezone.now()
    began = timezone.now()
    FeedPosition.objects.update(look_up_open_at=None, look_up_open_began_at=began)
    for _ in range(3):
        apply_reports([garbage], SESSION)
    assert FeedPosition.objects.get(feed=active_feed()).look_up_open_at == began + timedelta(minutes=1)


def test_the_clock_of_the_exchange_decides_nothing(accept: Accept) -> None:
    """It is in the year 9999, and a cancel waits for the order to be acknowledged."""
    order = accept()
    claim_one()
    cancel_order(order.id, requested_by="anna")
    far = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    apply_reports([replace(report(order, 1, PARTIALLY_FILLED, 40), occurred_at=far)], SESSION)
    now = timezone.now()
    order.refresh_from_db()
    assert order.next_attempt_at is not None
    assert order.placed_at is not None
    assert max(order.next_attempt_at, order.placed_at, order.updated_at) <= now, "the cancel is due now"
    assert order.events.get(type="partially_filled").occurred_at == far, "what it says is stored as told"
    assert LastPrice.objects.get().executed_at <= now
    apply_reports([replace(report(order, 2, PARTIALLY_FILLED, 10, "12.00", total=50, average="10.40"), occurred_at=now)], SESSION)
    assert LastPrice.objects.get().price == 12, "a later execution replaces it"


def test_the_largest_fill_at_the_largest_price_is_exact(accept: Accept) -> None:
    order = accept(quantity=2**31 - 1)
    price = "12345678901234567.12345678"
    apply_reports([report(order, 1, ReportType.FILLED, 2**31 - 1, price)], SESSION)
    assert totals(order)[2:] == (2**31 - 1, Decimal("26512143551514161008747265.16127666"), Decimal(price))
