"""A simulated exchange that contradicts itself: what it says is wrong, and what it has is not."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.feed import ExecutionFeed
from exchange.reports import BadReport, ExecutionReport, OrderStatus, ReportType, parse_frame
from exchange.simulator.book import Book, BookOrder, describe
from exchange.tests.scenery import ask, make_placement, next_report, open_http_gateway
from exchange.tests.trading import Trading

FILL_TYPES = {"partially_filled", "filled"}


def told(trading: Trading, order: BookOrder) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The true and the lying reports of an order, as they were told."""
    kinds = [change[0] for change in trading.market.changes if change[0] in ("report", "report_lie")]
    both: dict[str, list[dict[str, Any]]] = {"report": [], "report_lie": []}
    for kind, report in zip(kinds, trading.reports, strict=True):
        if report.order is order:
            both[kind].append(orjson.loads(report.payload))
    return both["report"], both["report_lie"]


def is_recognizable(lie: dict[str, Any], truth: list[dict[str, Any]], order: BookOrder) -> bool:
    """Whether a receiver can see it in the lie itself, the order's terms, or the reports before it."""
    before = [report for report in truth if report["sequence"] < lie["sequence"]]
    if isinstance(parse_frame(orjson.dumps(lie)), BadReport) or lie["last_price"] == "0":
        return True
    if (lie["account"], lie["exchange_order_id"]) != (order.terms.account, order.exchange_order_id):
        return True
    if lie["filled_quantity"] > order.terms.quantity:
        return True
    if lie["type"] == "filled" and lie["filled_quantity"] < order.terms.quantity:
        return True
    # A total goes up by as much as each fill, so that none of them can end where an earlier one ended or before.
    return lie["type"] in FILL_TYPES and lie["filled_quantity"] <= max(report["filled_quantity"] for report in before)


def live(seed: int, **faults: float) -> Trading:
    """A market in which orders were filled, canceled and rejected."""
    trading = Trading(seed, **({"reject_rate": 0.2} | faults))
    for number in range(30):
        order = trading.take(quantity=1 + number % 12) if number % 3 else trading.take_limit(5_000 + number)
        if number % 5 == 0:
            trading.market.request_cancel(order, trading.now)
        trading.run(0.1)
    trading.run(30)
    return trading


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 9999))
def test_every_lying_report_can_be_recognized_and_none_changes_the_book(seed):
    trading = live(seed, report_lie_rate=1)
    for order in trading.book.in_order:
        truth, lies = told(trading, order)
        assert order.report_lies == len(lies) == sum(report["type"] not in ("new", "cancel_rejected") for report in truth)
        assert all(is_recognizable(lie, truth, order) for lie in lies)
        fills = [report for report in truth if report["last_quantity"] is not None]
        assert sum(report["last_quantity"] for report in fills) == order.filled_quantity <= order.terms.quantity
        assert truth[-1]["type"] in (order.status, ReportType.CANCEL_REJECTED)


def test_sequences_stay_without_a_gap_and_each_lie_has_an_execution_id_of_its_own():
    reports = [orjson.loads(report.payload) for report in live(3, report_lie_rate=0.5).reports]
    assert [report["sequence"] for report in reports] == list(range(1, len(reports) + 1))
    assert len({report["execution_id"] for report in reports}) == len(reports)


def test_there_are_lies_of_every_kind():
    trading = live(5, report_lie_rate=1)
    lies = [(order, lie) for order in trading.book.in_order for lie in told(trading, order)[1]]
    kinds = {
        "another account": lambda order, lie: lie["account"] != order.terms.account,
        "another order of the exchange": lambda order, lie: lie["exchange_order_id"] != order.exchange_order_id,
        "more than was ordered": lambda order, lie: lie["filled_quantity"] > order.terms.quantity,
        "filled, and not all of it": lambda order, lie: lie["type"] == "filled" and lie["filled_quantity"] < order.terms.quantity,
        "for nothing": lambda order, lie: lie["last_price"] == "0",
        "a quantity in words": lambda order, lie: isinstance(lie["last_quantity"], str),
        "a correction": lambda order, lie: (
            lie["type"] == "partially_filled" and lie["last_quantity"] == lie["filled_quantity"] < order.filled_quantity
        ),
    }
    for kind, is_one in kinds.items():
        assert any(is_one(order, lie) for order, lie in lies), kind


def test_a_fill_can_be_told_again_under_a_second_execution_id():
    trading = live(5, report_lie_rate=1)
    for order in trading.book.in_order:
        truth, lies = told(trading, order)
        for report in (one for one in truth if one["last_quantity"] is not None):
            if any(lie == report | {name: lie[name] for name in ("sequence", "execution_id")} for lie in lies):
                return
    pytest.fail("no fill was told again")


def test_lies_are_as_many_as_asked_for_and_none_by_default():
    assert not any(order.report_lies for order in live(1).book.in_order)
    some = [order.report_lies for seed in range(10) for order in live(seed, report_lie_rate=0.2).book.in_order]
    assert 0.1 < sum(map(bool, some)) / len(some) < 0.6


def test_a_seed_tells_the_same_lies_again_and_leaves_the_rest_as_it_was():
    def history(seed: int, **faults: float) -> list[bytes]:
        return [report.payload for report in live(seed, **faults).reports]

    assert history(7, report_lie_rate=0.5) == history(7, report_lie_rate=0.5) != history(8, report_lie_rate=0.5)
    assert history(7, look_up_lie_rate=1) == history(7)


def test_magic_instruments_are_lied_about_only_when_asked_for():
    trading = Trading(report_lie_rate=1, look_up_lie_rate=1)
    order = trading.take(instrument="PARTIAL_____")
    trading.run(5)
    assert (order.report_lies, trading.market.contradict(order)) == (0, {})
    trading = Trading(report_lie_rate=1, look_up_lie_rate=1, magic_lie_rate=1)
    order = trading.take(instrument="PARTIAL_____")
    trading.run(5)
    assert order.report_lies == 1
    assert trading.market.contradict(order)


def test_a_look_up_lies_about_the_same_orders_until_truth_returns():
    trading = live(2)
    orders = trading.book.in_order
    before = [describe(order) for order in orders]
    trading.market.faults = trading.market.faults.changed({"look_up_lie_rate": 0.4})
    lied_about = [[bool(trading.market.contradict(order)) for order in orders] for _ in range(3)]
    assert lied_about[0] == lied_about[1] == lied_about[2]
    assert 0 < sum(lied_about[0]) < len(orders)
    assert [order.look_up_lies for order in orders] == [3 * is_one for is_one in lied_about[0]]
    trading.market.faults = trading.market.faults.changed({"look_up_lie_rate": 0})
    assert not any(trading.market.contradict(order) for order in orders)
    assert [describe(order) for order in orders] == before


def test_every_kind_of_lying_answer_is_given_and_none_can_be_so():
    trading = live(4, look_up_lie_rate=1)
    seen = set()
    for order in trading.book.in_order:
        truth, lie = describe(order), trading.market.contradict(order)
        answer = truth | lie
        wrong = {
            "total": isinstance(answer["filled_quantity"], int) and answer["filled_quantity"] > order.terms.quantity,
            "price": answer["average_price"] == "0" and bool(answer["filled_quantity"]),
            "status": answer["status"] not in list(OrderStatus),
            "text": isinstance(answer["filled_quantity"], str),
            "terms": answer["quantity"] == 2 * order.terms.quantity,
        }
        assert any(wrong.values())
        seen |= {kind for kind, is_so in wrong.items() if is_so}
    assert seen == {"total", "price", "status", "text", "terms"}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_book_rebuilt_from_its_changes_tells_the_same_lies(seed):
    trading = live(seed, report_lie_rate=0.5, look_up_lie_rate=0.5, clock_ahead=3600)
    for order in trading.book.in_order:
        trading.market.contradict(order)
    rebuilt = Book()
    changes = [orjson.loads(orjson.dumps(change)) for change in trading.market.changes]
    reports = [report for report in map(rebuilt.apply, changes) if report is not None]
    assert rebuilt.in_order == trading.book.in_order
    assert any(order.report_lies and order.look_up_lies for order in rebuilt.in_order)
    assert [report.payload for report in reports] == [report.payload for report in trading.reports]


@pytest.mark.parametrize("ahead_s", [3600, 100 * 365 * 24 * 3600])
def test_a_clock_that_is_ahead_is_told_and_decides_nothing(ahead_s):
    trading = Trading(clock_ahead=ahead_s)
    order = trading.take()
    trading.run(5)
    assert order.status is OrderStatus.FILLED
    for report in trading.reports:
        read = parse_frame(report.payload)
        assert isinstance(read, ExecutionReport)
        assert read.occurred_at.timestamp() == pytest.approx(report.occurred_at + ahead_s)
        assert report.occurred_at <= trading.now


async def test_the_feed_and_the_look_ups_of_a_process_lie_and_its_book_says_so(start_simulator):
    simulator = start_simulator(report_lie_rate=1, look_up_lie_rate=1)
    placement = make_placement()
    id = placement.client_order_id
    async with open_http_gateway(simulator.url) as gateway:
        await gateway.place(placement)
        await next_report(simulator.url, id, ReportType.FILLED)
    assert simulator.book()[id]["look_up_lies"] == 0
    lying = ask(simulator, "GET", f"/orders/{id}")
    simulator.restart()
    assert ask(simulator, "GET", f"/orders/{id}") == lying
    in_book = simulator.book()[id]
    assert in_book["look_up_lies"] == 2
    assert in_book["report_lies"] >= 1
    simulator.control(report_lie_rate=0, look_up_lie_rate=0)
    status, answer = ask(simulator, "GET", f"/orders/{id}")
    assert (status, answer["status"], answer["filled_quantity"]) == (200, "filled", 10)
    assert answer.items() >= {name: in_book[name] for name in ("average_price", "quantity", "account")}.items()


async def test_the_reports_of_a_lying_process_come_again_after_a_restart(start_simulator):
    simulator = start_simulator(report_lie_rate=1, clock_ahead=3600)
    placement = make_placement()
    async with open_http_gateway(simulator.url) as gateway:
        await gateway.place(placement)
        await next_report(simulator.url, placement.client_order_id, ReportType.FILLED)
    before = await reports_of(simulator)
    simulator.restart()
    assert await reports_of(simulator) == before
    assert sum(order["report_lies"] for order in simulator.book().values()) >= 1


async def reports_of(simulator) -> list[Any]:
    """Everything that the feed still has."""
    reports: list[Any] = []
    last_sequence = simulator.health()["last_sequence"]
    async with ExecutionFeed(simulator.url) as feed:
        while len(reports) < last_sequence:
            reports += [one for one in await feed.next_batch() if isinstance(one, ExecutionReport | BadReport)]
    assert [one.sequence for one in reports] == list(range(1, last_sequence + 1))
    return reports
