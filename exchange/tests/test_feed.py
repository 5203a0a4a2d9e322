"""The execution feed between a simulated exchange process and its client."""

import asyncio
from dataclasses import replace

import pytest

from exchange import feed as feed_module
from exchange.feed import ExecutionFeed, FeedDisconnected
from exchange.gateway import Acknowledged
from exchange.reports import ExecutionReport, ReportType, Session
from exchange.tests.scenery import make_placement, next_report, open_http_gateway, read_until_disconnected


async def place_many(url: str, count: int, **changes) -> None:
    async with open_http_gateway(url) as gateway:
        outcomes = await asyncio.gather(*(gateway.place(make_placement(**changes)) for _ in range(count)))
    assert {type(outcome) for outcome in outcomes} == {Acknowledged}


async def read_reports(feed: ExecutionFeed, count: int) -> list[ExecutionReport]:
    """Read exactly so many reports, past the session message."""
    reports: list[ExecutionReport] = []
    async with asyncio.timeout(20):
        while len(reports) < count:
            messages = await feed.next_batch(count - len(reports))
            assert all(isinstance(message, Session | ExecutionReport) for message in messages)
            reports += [message for message in messages if isinstance(message, ExecutionReport)]
    return reports


def sequences(reports: list[ExecutionReport]) -> list[int]:
    return [report.sequence for report in reports]


async def test_the_first_message_is_the_session(start_simulator):
    simulator = start_simulator()
    async with ExecutionFeed(simulator.url) as feed:
        messages = await feed.next_batch()
    assert messages == [feed.session]
    assert feed.session == Session(simulator.health()["session_id"], 1, 0)


async def test_live_reports_have_no_gap_and_add_up_to_the_book(start_simulator):
    simulator = start_simulator()
    async with ExecutionFeed(simulator.url) as feed:
        await place_many(simulator.url, 50)
        reports: list[ExecutionReport] = []
        while sum(report.type is ReportType.FILLED for report in reports) < 50:
            reports += await read_reports(feed, 1)
    assert sequences(reports) == list(range(1, len(reports) + 1))
    assert len({report.execution_id for report in reports}) == len(reports)
    book = simulator.book()
    for report in reports:
        if report.type is ReportType.FILLED:
            order = book[report.client_order_id]
            executed = [
                (one.last_quantity, one.last_price)
                for one in reports
                if one.client_order_id == report.client_order_id and one.last_quantity and one.last_price
            ]
            assert sum(quantity for quantity, _ in executed) == report.filled_quantity == order["filled_quantity"] == 10
            assert sum(quantity * price for quantity, price in executed) / 10 == report.average_price
            assert str(report.average_price) == order["average_price"]


async def test_after_a_cut_the_feed_goes_on_where_it_was(start_simulator):
    simulator = start_simulator()
    await place_many(simulator.url, 10, instrument="NEVERFILL___")
    async with ExecutionFeed(simulator.url) as feed:
        first = await read_reports(feed, 4)
        simulator.control(cut_feed=True)
        await read_until_disconnected(feed)
    async with ExecutionFeed(simulator.url, after=4, session_id=feed.session.session_id) as feed:
        rest = await read_reports(feed, 6)
    assert sequences(first) + sequences(rest) == list(range(1, 11))


@pytest.mark.parametrize("session_id", [None, "another"])
async def test_a_position_in_another_session_brings_everything_that_is_retained(start_simulator, session_id):
    simulator = start_simulator()
    await place_many(simulator.url, 5, instrument="NEVERFILL___")
    async with ExecutionFeed(simulator.url, after=3, session_id=session_id) as feed:
        assert sequences(await read_reports(feed, 5)) == [1, 2, 3, 4, 5]


async def test_a_position_beyond_the_end_is_told_by_the_session_message(start_simulator):
    simulator = start_simulator()
    session_id = simulator.health()["session_id"]
    async with ExecutionFeed(simulator.url, after=900, session_id=session_id) as feed:
        assert feed.session == Session(session_id, 1, 0)
        await place_many(simulator.url, 1, instrument="NEVERFILL___")
        assert sequences(await read_reports(feed, 1)) == [1]


async def test_session_and_sequence_survive_a_crash_of_the_exchange(start_simulator):
    simulator = start_simulator()
    await place_many(simulator.url, 5, instrument="NEVERFILL___")
    async with ExecutionFeed(simulator.url) as feed:
        before = await read_reports(feed, 5)
    simulator.restart()
    await place_many(simulator.url, 1, instrument="NEVERFILL___")
    async with ExecutionFeed(simulator.url) as feed_after:
        after = await read_reports(feed_after, 6)
    assert feed_after.session.session_id == feed.session.session_id
    assert after[:5] == before
    assert after[5].sequence == 6


async def test_a_new_session_begins_at_one_and_keeps_the_book(start_simulator):
    simulator = start_simulator()
    await place_many(simulator.url, 5, instrument="NEVERFILL___")
    old_session_id = simulator.health()["session_id"]
    simulator.control(new_session=True)
    simulator.restart()
    assert len(simulator.book()) == 5
    async with ExecutionFeed(simulator.url, after=5, session_id=old_session_id) as feed:
        assert feed.session.session_id != old_session_id
        assert (feed.session.first_sequence, feed.session.last_sequence) == (1, 0)
        async with open_http_gateway(simulator.url) as gateway:
            await gateway.cancel(next(iter(simulator.book())))
        [report] = await read_reports(feed, 1)
    assert (report.sequence, report.execution_id, report.type) == (1, "E6", ReportType.CANCELED)


async def test_a_repeated_report_is_the_same_report(start_simulator):
    simulator = start_simulator(repeat_rate=1)
    await place_many(simulator.url, 5, instrument="NEVERFILL___")
    async with ExecutionFeed(simulator.url) as feed:
        reports = await read_reports(feed, 10)
    assert sorted(sequences(reports)) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert len({replace(report) for report in reports}) == 5


async def test_a_delayed_report_comes_when_the_delay_is_over(start_simulator):
    simulator = start_simulator(delay=3600)
    async with ExecutionFeed(simulator.url) as feed:
        assert await feed.next_batch() == [feed.session]
        await place_many(simulator.url, 1, instrument="NEVERFILL___")
        assert simulator.health()["last_sequence"] == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(feed.next_batch(), 0.2)
        simulator.control(delay=0)
        [report] = await read_reports(feed, 1)
    assert report.sequence == 1


async def test_an_early_report_comes_before_the_answer(start_simulator):
    simulator = start_simulator(early_report_rate=1, latency=1.5)
    placement = make_placement()
    async with open_http_gateway(simulator.url) as gateway:
        placing = asyncio.create_task(gateway.place(placement))
        report = await next_report(simulator.url, placement.client_order_id, ReportType.NEW)
        assert not placing.done()
        outcome = await placing
    assert outcome == Acknowledged(report.exchange_order_id)


async def test_only_so_many_reports_are_retained(start_simulator):
    simulator = start_simulator(retention=10)
    await place_many(simulator.url, 40, instrument="NEVERFILL___")
    for _ in range(2):
        async with ExecutionFeed(simulator.url, after=3, session_id=simulator.health()["session_id"]) as feed:
            first = feed.session.first_sequence
            assert 30 <= first <= 31
            assert sequences(await read_reports(feed, 41 - first)) == list(range(first, 41))
        simulator.restart()


async def test_a_frozen_exchange_is_noticed(start_simulator):
    simulator = start_simulator()
    async with ExecutionFeed(simulator.url, heartbeat_s=0.3) as feed, asyncio.timeout(10):
        await feed.next_batch()
        simulator.freeze()
        with pytest.raises(FeedDisconnected):
            await feed.next_batch()


async def test_a_quiet_feed_stays_connected_by_its_heartbeat(start_simulator):
    simulator = start_simulator()
    async with ExecutionFeed(simulator.url, heartbeat_s=0.5) as feed:
        await feed.next_batch()
        # Nothing happens for several heartbeats, which is the point.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(feed.next_batch(), 1.2)
        await place_many(simulator.url, 1, instrument="NEVERFILL___")
        assert sequences(await read_reports(feed, 1)) == [1]


async def test_an_exchange_that_is_away_is_a_disconnected_feed(start_simulator):
    simulator = start_simulator()
    simulator.kill()
    with pytest.raises(FeedDisconnected):
        async with ExecutionFeed(simulator.url):
            pass


async def test_a_frozen_exchange_cannot_be_connected_to(start_simulator):
    simulator = start_simulator()
    simulator.freeze()
    with pytest.raises(FeedDisconnected, match="within"):
        async with ExecutionFeed(simulator.url, connect_timeout_s=0.2):
            pass


async def test_a_batch_is_all_that_is_there_up_to_its_size(start_simulator):
    simulator = start_simulator()
    await place_many(simulator.url, 30, instrument="NEVERFILL___")
    async with ExecutionFeed(simulator.url) as feed:
        await read_reports(feed, 1)
        while len(feed._waiting) < 29:
            feed._changed.clear()
            await feed._changed.wait()
        assert len(await feed.next_batch(max_size=20)) == 20
        assert len(await feed.next_batch(max_size=20)) == 9


async def test_a_consumer_that_waits_long_makes_the_exchange_wait(start_simulator, monkeypatch):
    monkeypatch.setattr(feed_module, "MAX_WAITING_BYTES", 2000)
    simulator = start_simulator()
    await place_many(simulator.url, 100, instrument="NEVERFILL___")
    async with ExecutionFeed(simulator.url) as feed:
        reports: list[ExecutionReport] = []
        while len(reports) < 100:
            reports += await read_reports(feed, 1)
            assert len(feed._waiting) < 10
    assert sequences(reports) == list(range(1, 101))


async def test_giving_up_a_wait_loses_nothing(start_simulator):
    simulator = start_simulator()
    async with ExecutionFeed(simulator.url) as feed:
        await feed.next_batch()
        for number in range(1, 20):
            waiting = asyncio.create_task(feed.next_batch())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await place_many(simulator.url, 1, instrument="NEVERFILL___")
            assert sequences(await read_reports(feed, 1)) == [number]
