import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], *, within_s: float = 20.0, what: str = "what the test waits for") -> Value:
    """Return the value of `condition` once it is true; fail the test if that takes too long, as only in a broken system."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)
    return value
