from datetime import timedelta

import pytest
from django.utils import timezone

from orders.templatetags.durations import age, duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.18, "180 ms"),
        (0.9999, "1.0 s"),
        (1.44, "1.4 s"),
        (12.3, "12 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (356_400, "4 d 3 h"),
        (-1, "0 ms"),
    ],
)
def test_a_duration_is_said_in_two_units_at_most(seconds: float, said: str) -> None:
    assert duration(seconds) == said
    assert duration(timedelta(seconds=seconds)) == said


def test_an_age_is_said_in_seconds_at_least() -> None:
    assert age(timezone.now() + timedelta(seconds=5)) == "0 s"
    assert age(timezone.now() - timedelta(minutes=3, seconds=5)) == "3 min 5 s"
