from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orders.retry_policy import PlacementPolicy, retry_delay_s

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempt", "random", "retry_after_s", "expected_s"),
    [
        (1, 1.0, None, 1.0),
        (2, 1.0, None, 2.0),
        (3, 1.0, None, 4.0),
        (6, 1.0, None, 32.0),
        (7, 1.0, None, 60.0),
        (1_000_000, 1.0, None, 60.0),
        (3, 0.0, None, 0.0),
        (3, 0.25, None, 1.0),
        (1, 1.0, 7.5, 7.5),
        (7, 1.0, 7.5, 60.0),
        (1, 0.0, 0.0, 0.0),
    ],
)
def test_the_wait_doubles_up_to_the_cap_and_respects_retry_after(
    policy: PlacementPolicy, attempt: int, random: float, retry_after_s: float | None, expected_s: float
) -> None:
    assert retry_delay_s(attempt, policy, lambda: random, retry_after_s) == expected_s


def test_nothing_is_sent_after_the_order_expires(policy: PlacementPolicy) -> None:
    policy = replace(policy, give_up_after_s=900)
    assert policy.give_up_at(START, None) == START + timedelta(minutes=15)
    assert policy.give_up_at(START, START + timedelta(hours=1)) == START + timedelta(minutes=15)
    assert policy.give_up_at(START, START + timedelta(seconds=3)) == START + timedelta(seconds=3)
