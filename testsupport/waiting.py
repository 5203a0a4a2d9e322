import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], *, within_s: float = 20.0, what: str = "what the test waits for") -> Value:
    """Return the value of `condition` as soon as it holds; fail the test when it does not in time, as in a broken system only."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)
    return value
