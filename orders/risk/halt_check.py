"""The last look before a send: whether trading was halted since the order was claimed."""

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

# How long before a send the halts may have been read. To read them for each send would cost as much as claiming it.
HALTS_FRESH_FOR_S = 0.01


class HaltCheck:
    """Knows the halts in force as a read of the last `HALTS_FRESH_FOR_S` found them; sends that wait for one share it.

    A process that was stopped in the middle reads again. Where reading takes too long twice in a row, twice the time is
    allowed for the next read, and so on, so that a slow database slows sends down and does not end them.
    """

    def __init__(self, database: DatabaseThread, clock: Callable[[], float] = monotonic) -> None:
        self.database = database
        self.clock = clock
        self.halts: list[Halt] = []
        self.read_began_s = -math.inf
        self.reading: asyncio.Task[None] | None = None

    async def allows(self, order: Order, checked_s: float) -> bool:
        """Whether the order may be sent now; `checked_s` is when its claim began, which reads the halts itself.

        Nothing may be sent while the database is unavailable, since nobody knows then.
        """
        if self.clock() - checked_s <= HALTS_FRESH_FOR_S:
            return True
        for reads in count():
            if self.clock() - self.read_began_s <= HALTS_FRESH_FOR_S * 2 ** max(0, reads - 1):
                break
            if self.reading is None or self.reading.done():
                self.reading = asyncio.create_task(self.read())
            try:
                # One of those who wait may be cancelled, and the others still need it.
                await asyncio.shield(self.reading)
            except DatabaseUnavailable:
                return False
        return not is_halted(order, self.halts)

    async def read(self) -> None:
        try:
            self.read_began_s, self.halts = await self.database.run(partial(read_halts, self.clock))
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", doing="look for halts", error=one_line(error))
            raise


def read_halts(clock: Callable[[], float]) -> tuple[float, list[Halt]]:
    """The halts in force, and a moment before they were read."""
    began_s = clock()
    return began_s, halts_in_force()
