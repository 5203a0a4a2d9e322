"""Reads for clients that come back, of which each may be long: a few at a time, beside handshakes and live events."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TypeVar
from weakref import WeakValueDictionary

from notifications.database import DatabaseThreads

T = TypeVar("T")

# Each has a thread and a connection of its own. More of them would only compete with the event loop for Python's lock.
MAX_READS = 2


class ResumeReads:
    """One read at a time of each account and MAX_READS in all, in the order in which they are asked for.

    An account waits for its own turn first. So the next one that reads belongs to another account, if one waits.
    """

    def __init__(self) -> None:
        self._database = DatabaseThreads(MAX_READS, "resumes")
        self._slots = asyncio.Semaphore(MAX_READS)
        self._of_account: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def run(self, account_id: int, work: Callable[..., T], *args: object) -> T:
        """`work(*args)` when it is the account's turn. Raises ReadsUnavailable."""
        own = self._of_account.setdefault(account_id, asyncio.Lock())
        async with AsyncExitStack() as turn:
            await turn.enter_async_context(own)
            await turn.enter_async_context(self._slots)
            reading = asyncio.create_task(self._read(turn.pop_all(), work, *args))
        # The turn ends with the read, not with its client: nothing stops a thread, and many could be left behind.
        return await asyncio.shield(reading)

    async def close(self) -> None:
        """End the threads, and with them their connections."""
        await self._database.close()

    async def _read(self, turn: AsyncExitStack, work: Callable[..., T], *args: object) -> T:
        async with turn:
            return await self._database.run(work, *args)
