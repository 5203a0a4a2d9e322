"""Reads for clients that resume, which may be long: a few at a time, apart from handshakes and live events."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TypeVar
from weakref import WeakValueDictionary

from notifications.database import DatabaseThreads

T = TypeVar("T")

# Each has its own thread and connection. More would only compete with the event loop for Python's global lock.
MAX_READS = 2


class ResumeReads:
    """Runs one read at a time for each account and MAX_READS in all, in order of arrival.

    A read waits for its account's lock first. So the next free slot goes to another account, if one waits.
    """

    def __init__(self) -> None:
        self._database = DatabaseThreads(MAX_READS, "resumes")
        self._slots = asyncio.Semaphore(MAX_READS)
        self._of_account: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def run(self, account_id: int, work: Callable[..., T], *args: object) -> T:
        """Run `work(*args)` when it is the account's turn. Raises ReadsUnavailable."""
        account_lock = self._of_account.setdefault(account_id, asyncio.Lock())
        async with AsyncExitStack() as locks:
            await locks.enter_async_context(account_lock)
            await locks.enter_async_context(self._slots)
            reading = asyncio.create_task(self._read(locks.pop_all(), work, *args))
        # The locks are held until the read ends, not until its client does: threads cannot be stopped, and many could pile up.
        return await asyncio.shield(reading)

    async def close(self) -> None:
        """End the threads, and with them their connections."""
        await self._database.close()

    async def _read(self, locks: AsyncExitStack, work: Callable[..., T], *args: object) -> T:
        async with locks:
            return await self._database.run(work, *args)
