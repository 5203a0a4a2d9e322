"""What the order desk is told of the feed's connection, while the exchange comes and goes."""

import pytest

from orders.executions.feed_connection import save_connection
from orders.models import FeedConnection
from orders.tests.following import follow_until_settled
from testsupport.simulator_process import SimulatorProcess

FEED = "exchange"


@pytest.mark.django_db(transaction=True)
def test_it_is_told_that_the_feed_is_connected_that_it_is_lost_and_that_it_is_back(simulator: SimulatorProcess) -> None:
    def is_connected(expected: bool) -> bool:
        return FeedConnection.objects.filter(feed=FEED, is_connected=expected).exists()

    states = iter([True, False, True])
    wanted = next(states)

    def has_been_through_all() -> bool:
        nonlocal wanted
        if not is_connected(wanted):
            return False
        following = next(states, None)
        if following is None:
            return True
        simulator.start() if following else simulator.stop()
        wanted = following
        return False

    follow_until_settled(simulator.url, has_been_through_all)
    assert FeedConnection.objects.get().problem is None


@pytest.mark.django_db
def test_it_is_told_since_when_the_feed_is_like_that() -> None:
    save_connection(FEED, "no route")
    lost = FeedConnection.objects.get()
    save_connection(FEED, "refused")
    still_lost = FeedConnection.objects.get()
    assert (still_lost.since, still_lost.problem) == (lost.since, "refused")
    assert still_lost.said_at > lost.said_at
    save_connection(FEED, None)
    back = FeedConnection.objects.get()
    assert (back.is_connected, back.problem) == (True, None)
    assert back.since > lost.since
