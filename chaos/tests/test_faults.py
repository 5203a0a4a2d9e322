"""The faults dealt: every process is a victim, and the minute run before each change has the worst of them."""

import random
from itertools import islice

import pytest

from chaos.faults import CLOCKS, COMMON, DISK, EXCHANGE, GUEST_WORKER, OF_TRANSPORT, POSTGRES, SCOPES, TRADING, dealt

# As in .ci/run. A minute is long enough for this many faults on a slow machine.
SEED, IN_A_MINUTE = 10085, 6


def cards(transport: str, seed: int, count: int) -> list[tuple[str, str, int]]:
    return list(islice(dealt(transport, random.Random(seed)), count))  # noqa: S311 - a run must be repeatable


@pytest.mark.parametrize("transport", ["django_q", "kafka"])
def test_everything_happens_to_everybody_before_anything_happens_twice(transport: str) -> None:
    victims = COMMON | OF_TRANSPORT[transport]
    expected = {(victim, "killed", number) for victim, count in victims.items() for number in range(count)}
    expected |= {(victim, how, 0) for victim in victims for how in ("frozen", "told to end")}
    expected |= {(POSTGRES, how, 0) for how in ("killed", "frozen", "one process", "read-only")}
    expected |= {(EXCHANGE, how, 0) for how in ("cut_feed", "new_session", "close", "silent", "clock_ahead")}
    expected |= {(GUEST_WORKER, how, 0) for how in CLOCKS} | {(TRADING, how, 0) for how in SCOPES}
    expected.add((DISK, "full", 0))
    first = cards(transport, 7, len(expected))
    assert len(first) == len(set(first))
    assert set(first) == expected
    assert set(cards(transport, 7, 2 * len(expected))[len(expected) :]) == expected


def test_a_seed_deals_the_same_again() -> None:
    assert cards("kafka", 5, 100) == cards("kafka", 5, 100) != cards("kafka", 6, 100)


def test_the_minute_before_each_change_has_what_hurts_most() -> None:
    first = cards("django_q", SEED, IN_A_MINUTE)
    assert {"qcluster", "granian", POSTGRES} <= {victim for victim, how, _ in first if how == "killed"}
    assert TRADING in {victim for victim, _, _ in first}
    assert any(victim == GUEST_WORKER or how in ("silent", "clock_ahead") for victim, how, _ in first)
