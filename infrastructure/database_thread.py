"""Database work of an event loop, on one thread and one connection beside it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

from infrastructure.database.errors import DatabaseUnavailable

T = TypeVar("T")

# Any number that nobody else locks.
LOCK_NUMBER = 0x6C656D6F


class DatabaseThread:
    """One thread, which has one connection; after a connection broke the next call opens a new one."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """`work()`, on the thread. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _reconnecting, work)

    async def close(self) -> None:
        """End the connection and the thread."""
        await self.run(close_connection)
        self._thread.shutdown()


class ActiveLock:
    """Makes one process the active one of a name, for as long as its database connection lives.

    Whoever loses the connection loses the lock with it, and finds out when asking. To be used on one thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # Not its process id at the server, which another one may have after a restart.
        self._held_on: object = None

    def is_held(self) -> bool:
        """Whether we have been the active one without a break since `hold` said so."""
        return self._held_on is not None and connection.connection is self._held_on

    def hold(self) -> bool:
        """Whether we are the active one, or have become it now."""
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
    """Each thread has a connection of its own: this closes the one of the thread that calls it."""
    connection.close()


def _reconnecting(work: Callable[[], T]) -> T:
    try:
        return work()
    except DatabaseUnavailable:
        connection.close()
        raise
