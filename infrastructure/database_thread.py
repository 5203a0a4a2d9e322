"""Runs an event loop's database work on one separate thread with one connection."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

from infrastructure.database.errors import DatabaseUnavailable

T = TypeVar("T")

# Any number that no other program locks.
LOCK_NUMBER = 0x6C656D6F


class DatabaseThread:
    """One thread with one connection; after a connection broke, the next call opens a new one."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on the thread and return its result. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _reconnecting, work)

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await self.run(close_connection)
        self._thread.shutdown()


class ActiveLock:
    """A named lock that one process, the active one, holds for as long as its database connection lives.

    A process that loses the connection also loses the lock, and `is_held` then returns False. To be used on one thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # Not its process id at the server, which another connection may have after a restart.
        self._held_on: object = None

    def is_held(self) -> bool:
        """Whether we have been active without a break since `hold` returned True."""
        return self._held_on is not None and connection.connection is self._held_on

    def hold(self) -> bool:
        """Try to become the active process; return whether we are."""
        connection.ensure_connection()
        if self.is_held():
            return True
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", [LOCK_NUMBER, self._name])
            [locked] = cursor.fetchone()
        if locked:
            self._held_on = connection.connection
        return bool(locked)


def close_connection() -> None:
    """Close the calling thread's connection; each thread has its own."""
    connection.close()


def _reconnecting(work: Callable[[], T]) -> T:
    try:
        return work()
    except DatabaseUnavailable:
        connection.close()
        raise
