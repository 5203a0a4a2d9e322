"""The last check before a send: whether trading was halted since the order was claimed."""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from itertools import count
from time import monotonic

import structlog

from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from infrastructure.database_thread import DatabaseThread
from orders.models import Halt, Order
from orders.risk.halts import halts_in_force, is_halted

log = structlog.get_logger()

# How long before a send the halts may have been read. Reading them for each send would cost as much as claiming it.
HALTS_FRESH_FOR_S = 0.01


class HaltCheck:
    """Checks sends against halts that were read within the last `HALTS_FRESH_FOR_S`. Sends that wait share one read.

    A process that was suspended meanwhile reads again. When a read takes too long, the next one may take twice the time, and
    so on, so that a slow database slows sends down but does not stop them.
    """

    def __init__(self, database: DatabaseThread, clock: Callable[[], float] = monotonic) -> None:
        self.database = database
        self.clock = clock
        self.halts: list[Halt] = []
        self.read_began_s = -math.inf
        self.reading: asyncio.Task[None] | None = None

    async def allows(self, order: Order, checked_s: float) -> bool:
        """Whether the order may be sent now. `checked_s` is when its claim began, which reads the halts itself.

        False while the database is unavailable, since it is unknown then whether trading is halted.
        """
        if self.clock() - checked_s <= HALTS_FRESH_FOR_S:
            return True
        for reads in count():
            if self.clock() - self.read_began_s <= HALTS_FRESH_FOR_S * 2 ** max(0, reads - 1):
                break
            if self.reading is None or self.reading.done():
                self.reading = asyncio.create_task(self.read())
            try:
                # Shielded because a waiting call may be cancelled while others still need the read.
                await asyncio.shield(self.reading)
            except DatabaseUnavailable:
                return False
        return not is_halted(order, self.halts)

    async def read(self) -> None:
        try:
            self.read_began_s, self.halts = await self.database.run(partial(read_halts, self.clock))
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", doing="read halts", error=one_line(error))
            raise


def read_halts(clock: Callable[[], float]) -> tuple[float, list[Halt]]:
    """When the read began, and the halts in force."""
    began_s = clock()
    return began_s, halts_in_force()
