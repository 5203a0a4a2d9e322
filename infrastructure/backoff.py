"""How long to wait before retrying something that failed."""

import asyncio
import random
from collections.abc import Callable


def backoff_s(failures: int, base_s: float, cap_s: float, random: Callable[[], float]) -> float:
    """Seconds to wait after `failures` failures in a row (at least 1).

    Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): evenly spread between 0 and
    `min(cap_s, base_s * 2**(failures - 1))`. `random` returns a number in [0, 1).
    """
    # 2**32 times any base is above any cap; without this bound a long outage would overflow the float.
    return float(min(cap_s, base_s * 2 ** min(failures - 1, 32)) * random())


class Backoff:
    """Pauses that grow with each failure, until `reset`."""

    def __init__(self, base_s: float = 0.1, cap_s: float = 5.0) -> None:
        self.base_s = base_s
        self.cap_s = cap_s
        self.failures = 0

    def next_s(self) -> float:
        """The pause after one more failure."""
        self.failures += 1
        return backoff_s(self.failures, self.base_s, self.cap_s, random.random)

    async def wait(self) -> None:
        await asyncio.sleep(self.next_s())

    def reset(self) -> None:
        self.failures = 0
