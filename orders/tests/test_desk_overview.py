"""What the landing page says, and that it turns with the exchange."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from orders import lifecycle
from orders.admin.charts import draw
from orders.admin.minute_counts import CACHE_KEY, Counts, counts_by_minute, sum_by_hour
from orders.admin.overview import Outcomes, judge_exchange, latency, nearest_rank
from orders.capped_count import CappedCount
from orders.models import FeedConnection, FeedPosition, Order, OrderEvent, PlacementWorker
from orders.retry_policy import PlacementPolicy
from orders.storage import save_changes
from orders.tests.desk import LIST, lose, page
from orders.tests.following import follow_until_settled
from testsupport.simulator_process import SimulatorProcess

Accept = Callable[..., Order]
NOW = datetime(2030, 1, 31, 15, 30, tzinfo=UTC)
FRAGMENT = f"{LIST}overview/"


@pytest.fixture(autouse=True)
def no_minutes_of_other_tests() -> Iterator[None]:
    cache.delete(CACHE_KEY)
    yield
    cache.delete(CACHE_KEY)


def connection(*, is_connected: bool, said_ago_s: float = 1) -> FeedConnection:
    said_at = NOW - timedelta(seconds=said_ago_s)
    return FeedConnection(is_connected=is_connected, problem=None if is_connected else "refused", since=NOW, said_at=said_at)


def lately(*, placed: int = 0, retrying: int = 0) -> Outcomes:
    return Outcomes(CappedCount(placed), CappedCount(retrying), retrying, None, None)


@pytest.mark.parametrize(
    ("feed", "outcomes", "level", "words"),
    [
        (None, lately(), "unsure", "not being followed"),
        (connection(is_connected=True, said_ago_s=11), lately(placed=5), "unsure", "not being followed"),
        (connection(is_connected=False), lately(placed=5), "bad", "cannot be reached: refused"),
        (connection(is_connected=True), lately(), "good", "is connected"),
        (connection(is_connected=True), lately(placed=100, retrying=10), "good", "is connected"),
        (connection(is_connected=True), lately(retrying=4), "good", "is connected"),
        (connection(is_connected=True), lately(placed=2, retrying=5), "unsure", "accepted 2 orders and did not accept 5"),
    ],
)
def test_the_exchange_is_judged_by_its_feed_and_by_what_it_took(
    feed: FeedConnection | None, outcomes: Outcomes, level: str, words: str
) -> None:
    verdict = judge_exchange(feed, outcomes, NOW)
    assert verdict.level == level
    assert words in verdict.text


def test_a_worker_that_waits_for_the_exchange_tells_more_than_the_feed() -> None:
    waits = PlacementWorker(name="a:1 qcluster", problem="the exchange accepts nothing (closed)", paused_until=NOW)
    verdict = judge_exchange(connection(is_connected=True), lately(placed=5), NOW, waits)
    assert (verdict.level, verdict.text) == ("bad", "The exchange accepts nothing (closed)")


@pytest.mark.parametrize(("percent", "expected"), [(50, 50.0), (99, 99.0), (1, 1.0), (100, 100.0)])
def test_a_percentile_is_a_value_that_was_measured(percent: int, expected: float) -> None:
    assert nearest_rank([float(number) for number in range(1, 101)], percent) == expected
    assert nearest_rank([7.0], percent) == 7.0


@pytest.mark.django_db
def test_latency_is_from_accepted_to_placed_over_the_last_hour(accept: Accept) -> None:
    assert latency(timezone.now()) is None
    for took_s in (1, 2, 30):
        order = accept()
        save_changes([order], lifecycle.acknowledged(order, "X", timezone.now()))
        placed_at = order.created_at + timedelta(seconds=took_s)
        OrderEvent.objects.filter(order=order, type="placed").update(recorded_at=placed_at)
    long_ago = accept()
    save_changes([long_ago], lifecycle.acknowledged(long_ago, "X", timezone.now()))
    OrderEvent.objects.filter(order=long_ago, type="placed").update(recorded_at=timezone.now() - timedelta(hours=2))
    measured = latency(timezone.now())
    assert measured is not None
    assert measured.sample == 3
    assert (round(measured.p50_s), round(measured.p99_s)) == (2, 30)


@pytest.mark.django_db
def test_orders_and_placements_are_counted_by_minute(accept: Accept) -> None:
    orders = [accept() for _ in range(3)]
    save_changes(orders[:1], lifecycle.acknowledged(orders[0], "X", timezone.now()))
    now = timezone.now()
    counts = counts_by_minute(now + timedelta(minutes=1), 60)
    assert len(counts) == 60
    assert sum(pair.accepted for pair in counts.values()) == 3
    assert sum(pair.placed for pair in counts.values()) == 1
    assert list(counts) == sorted(counts)
    assert max(counts) == (now + timedelta(minutes=1)).replace(second=0, microsecond=0)


@pytest.mark.django_db
def test_a_minute_that_is_over_is_counted_once(accept: Accept, django_assert_num_queries: Any) -> None:
    order = accept()
    later = timezone.now() + timedelta(minutes=5)
    before = counts_by_minute(later, 60)
    OrderEvent.objects.filter(order=order).delete()
    Order.objects.filter(id=order.id).delete()
    assert counts_by_minute(later, 60) == before
    with django_assert_num_queries(1) as captured:
        counts_by_minute(later, 60)
    minutes_counted = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:00", captured.captured_queries[0]["sql"])
    # Begin and end of the newest minute and of the one that is only just over.
    assert len(minutes_counted) == 4


@pytest.mark.django_db
def test_a_minute_that_is_not_over_is_counted_again(accept: Accept) -> None:
    accept()
    now = timezone.now()
    assert sum(pair.accepted for pair in counts_by_minute(now, 5).values()) == 1
    accept()
    assert sum(pair.accepted for pair in counts_by_minute(timezone.now(), 5).values()) == 2


def test_minutes_are_summed_by_hour() -> None:
    minutes = {NOW + timedelta(minutes=number): Counts(2, 1) for number in range(60)}
    assert sum_by_hour(minutes) == {
        NOW.replace(minute=0): Counts(60, 30),
        NOW.replace(hour=16, minute=0): Counts(60, 30),
    }


@pytest.mark.django_db
def test_each_bar_leads_to_the_orders_of_its_time(viewer: Client, accept: Accept) -> None:
    order = accept()
    begins_at = order.created_at.astimezone(UTC).replace(second=0, microsecond=0)
    minutes = [begins_at - timedelta(minutes=1), begins_at, begins_at + timedelta(minutes=1)]
    chart = draw("", dict.fromkeys(minutes, Counts(1, 0)), timedelta(minutes=1))
    shown = [str(order.id) in viewer.get(bar.link).content.decode() for bar in chart.bars]
    assert shown == [False, True, False]


@pytest.mark.django_db
def test_every_number_leads_to_a_list_that_opens(staff: Callable[..., Client], accept: Accept, policy: PlacementPolicy) -> None:
    client = staff("view_order", "view_deadletter", "view_feedposition")
    placed = accept()
    save_changes([placed], lifecycle.acknowledged(placed, "X", timezone.now()))
    accept()
    lost = lose(accept(), policy)
    FeedPosition.objects.create(feed="exchange", session_id="s", sequence=7)
    html = client.get("/admin/").content.decode().partition('id="overview"')[2]
    links = {link.replace("&amp;", "&") for link in re.findall(r'href="([^"]+)"', html)}
    assert len(links) > 60
    for link in [link for link in links if "created_at" not in link]:
        assert client.get(link).status_code == 200, link
    assert page(lost) in links
    assert "<b>7</b> last report" in re.sub(r"\s+", " ", html)


@pytest.mark.django_db
def test_whoever_may_not_view_orders_gets_no_numbers(staff: Callable[..., Client], accept: Accept) -> None:
    accept()
    client = staff()
    html = client.get("/admin/").content.decode()
    assert "has no role at the order desk" in html
    assert "desk-tiles" not in html
    assert client.get(FRAGMENT).status_code == 403
    assert Client().get(FRAGMENT).headers["Location"].startswith("/admin/login/")


@pytest.mark.django_db(transaction=True)
def test_the_page_turns_when_the_exchange_stops_and_turns_back(simulator: SimulatorProcess, admin_client: Client) -> None:
    def verdict() -> str:
        found = re.search(r'desk-verdict desk-(\w+)"', admin_client.get(FRAGMENT).content.decode())
        assert found is not None
        return found[1]

    seen = [verdict()]

    def has_turned_twice() -> bool:
        if (now := verdict()) != seen[-1]:
            seen.append(now)
            if now == "good" and "bad" not in seen:
                simulator.stop()
            elif now == "bad" and "good" in seen:
                simulator.start()
        return seen[-3:] == ["good", "bad", "good"]

    follow_until_settled(simulator.url, has_turned_twice)
    assert seen[0] == "unsure"
