"""The simulated exchange's market with a clock and dice of the test's own: no process, no waiting."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.reports import OrderStatus, ReportType
from exchange.simulator.book import Book, BookOrder
from exchange.simulator.market import Market
from exchange.simulator.placements import Terms
from exchange.tests.trading import Trading

NEW, PARTIALLY_FILLED, FILLED = ReportType.NEW, ReportType.PARTIALLY_FILLED, ReportType.FILLED


def test_an_order_is_pending_until_the_latency_is_over():
    trading = Trading(latency=0.5)
    order = trading.take()
    trading.run(0.49)
    assert (order.status, trading.reports) == (OrderStatus.PENDING_NEW, [])
    trading.run(0.02)
    assert trading.types(order) == [NEW]


def test_without_latency_an_order_is_acknowledged_when_it_is_taken():
    trading = Trading(latency=0)
    assert trading.take().status is OrderStatus.NEW


@pytest.mark.parametrize("quantity", [1, 2, 1000])
def test_a_market_order_is_filled_completely_in_at_most_three_steps(quantity):
    trading = Trading()
    orders = [trading.take(quantity=quantity) for _ in range(50)]
    trading.run(2)
    for order in orders:
        types = trading.types(order)
        assert types[0] is NEW
        assert types[-1] is FILLED
        assert set(types[1:-1]) <= {PARTIALLY_FILLED}
        assert len(types) <= 4
        assert sum(amount for amount, _ in trading.executions(order)) == quantity
    assert {len(trading.types(order)) for order in orders} == set(range(2, 2 + min(quantity, 3)))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.sampled_from(["buy", "sell"]), st.integers(1, 10**6)), max_size=8), st.integers()
)
def test_no_limit_order_is_filled_beyond_its_limit_or_its_quantity(wishes, seed):
    trading = Trading(seed)
    orders = [trading.take_limit(cents, side=side, quantity=quantity) for cents, side, quantity in wishes]
    trading.run(60)
    for order in orders:
        limit_cents = order.terms.limit_cents or 0
        executions = trading.executions(order)
        assert all(cents <= limit_cents if order.terms.side == "buy" else cents >= limit_cents for _, cents in executions)
        assert sum(quantity for quantity, _ in executions) == order.filled_quantity <= order.terms.quantity
        assert (order.filled_quantity == order.terms.quantity) == (order.status is OrderStatus.FILLED)


def test_most_limit_orders_near_the_price_are_filled_within_seconds():
    trading = Trading()
    orders = [trading.take_limit(17_050, instrument=f"INSTR{number:07d}") for number in range(200)]
    trading.run(10)
    assert 120 < sum(order.status is OrderStatus.FILLED for order in orders) < 200


def test_a_limit_order_far_from_the_price_costs_next_to_nothing():
    trading = Trading()
    trading.take_limit(100_000, side="buy")
    order = trading.take_limit(1, side="buy")
    trading.run(60)
    assert trading.run(3600) < 1000
    assert order.status is OrderStatus.NEW


def test_the_first_limit_order_tells_what_an_instrument_is_worth():
    trading = Trading()
    trading.take()
    trading.run(5)
    order = trading.take_limit(999_999_00, side="buy")
    trading.run(60)
    assert trading.executions(order)[0][1] > 990_000_00


def test_the_magic_instruments_stay_open_until_they_are_cancelled():
    trading = Trading(reject_rate=1, cancel_race_rate=1)
    never = trading.take(instrument="NEVERFILL___")
    partial = trading.take_limit(500, instrument="PARTIAL_____", quantity=11)
    trading.run(3600)
    assert trading.types(never) == [NEW]
    assert trading.types(partial) == [NEW, PARTIALLY_FILLED]
    assert partial.filled_quantity == 5
    for order in (never, partial):
        trading.market.request_cancel(order, trading.now)
    trading.run(1)
    assert never.status is partial.status is OrderStatus.CANCELED
    assert partial.filled_quantity == 5


def test_a_cancel_asked_twice_is_carried_out_once():
    trading = Trading()
    order = trading.take_limit(1, side="buy", instrument="NEVERFILL___")
    trading.run(1)
    trading.market.request_cancel(order, trading.now)
    trading.market.request_cancel(order, trading.now)
    trading.run(1)
    assert trading.types(order) == [NEW, ReportType.CANCELED]


def test_a_cancel_before_the_acknowledgement_follows_it():
    trading = Trading(latency=5)
    order = trading.take()
    trading.market.request_cancel(order, trading.now)
    trading.run(10)
    assert trading.types(order) == [NEW, ReportType.CANCELED]


def test_a_cancel_that_loses_the_race_is_rejected():
    trading = Trading(cancel_race_rate=1)
    trading.take_limit(100_000)
    order = trading.take_limit(1)
    trading.run(1)
    trading.market.request_cancel(order, trading.now)
    trading.run(1)
    assert trading.types(order) == [NEW, FILLED, ReportType.CANCEL_REJECTED]
    assert order.status is OrderStatus.FILLED


def test_an_open_order_expires():
    trading = Trading(expire_after=30)
    never, filled = trading.take(instrument="NEVERFILL___"), trading.take()
    trading.run(31)
    assert trading.types(never) == [NEW, ReportType.EXPIRED]
    assert trading.types(filled)[-1] is FILLED


def test_an_acknowledged_order_can_be_rejected():
    trading = Trading(reject_rate=1)
    order = trading.take()
    trading.run(5)
    assert trading.types(order) == [NEW, ReportType.REJECTED]


def test_the_same_seed_gives_the_same_history():
    def history(seed: int) -> list[bytes]:
        trading = Trading(seed, reject_rate=0.2)
        for number in range(20):
            trading.take_limit(5_000 + number) if number % 2 else trading.take()
            trading.run(0.1)
        trading.run(20)
        return [report.payload for report in trading.reports]

    assert history(7) == history(7)
    assert history(7) != history(8)


def test_the_average_price_is_exact_to_eight_places():
    order = BookOrder(0, "order", "X-0", Terms("demo", "market", "buy", "AAPL_2025_03", None, 7), 0.0)
    assert order.average_price() is None
    order.filled_quantity, order.filled_cents = 3, 1_000
    assert order.average_price() == "3.33333333"
    order.filled_quantity, order.filled_cents = 7, 7 * 2_000
    assert order.average_price() == "20"


def do_something(trading: Trading, action: str, number: int) -> None:
    orders = trading.book.in_order
    if action == "market":
        trading.take(quantity=number)
    elif action == "limit":
        trading.take_limit(number)
    elif action == "partial":
        trading.take(instrument="PARTIAL_____")
    elif action == "session":
        trading.market.begin_session("another")
    elif action == "wait":
        trading.run(number / 1000)
    elif action == "cancel" and orders and orders[-1].is_open:
        trading.market.request_cancel(orders[-1], trading.now)
    elif action == "repeat" and orders:
        trading.market.count_repeat(orders[-1])


ACTIONS = st.sampled_from(["market", "limit", "partial", "session", "wait", "cancel", "repeat"])


@settings(deadline=None)
@given(st.lists(st.tuples(ACTIONS, st.integers(1, 3000)), max_size=15), st.integers(0, 99))
def test_a_book_rebuilt_from_its_changes_is_the_same_book_and_goes_on(actions, seed):
    trading = Trading(seed, expire_after=20, cancel_race_rate=0.3, reject_rate=0.1)
    for action, number in actions:
        do_something(trading, action, number)

    rebuilt = Book()
    reports = [report for report in map(rebuilt.apply, trading.market.changes) if report is not None]
    assert rebuilt.in_order == trading.book.in_order
    assert (rebuilt.session_id, rebuilt.last_sequence) == (trading.book.session_id, trading.book.last_sequence)
    assert [report.payload for report in reports] == [report.payload for report in trading.reports]

    trading.book, trading.market = rebuilt, Market(rebuilt, trading.market.faults, seed)
    trading.market.resume(trading.now)
    trading.run(60)
    assert not list(rebuilt.open_orders())
