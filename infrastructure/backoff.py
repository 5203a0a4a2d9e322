"""Pauses between attempts of something that fails."""

import asyncio
import random

BASE_S = 0.1
CAP_S = 5.0


class BackOff:
    """Random and growing pauses, until something came of it (full jitter, as for placements)."""

    def __init__(self) -> None:
        self.failures = 0

    async def wait(self) -> None:
        ceiling_s = min(CAP_S, BASE_S * 2 ** min(self.failures, 16))
        self.failures += 1
        await asyncio.sleep(ceiling_s * random.random())  # noqa: S311 - nothing secret

    def reset(self) -> None:
        self.failures = 0
