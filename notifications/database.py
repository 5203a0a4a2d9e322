"""Database work on threads beside the event loop, always with a time limit."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.db import connection

from infrastructure.database.base import query_timeout
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line

T = TypeVar("T")

# Includes the wait for a thread, since many reads may wait for a database that does not answer.
MAX_READ_S = 10.0


class ReadsUnavailable(Exception):
    """The database did not answer, or refused the read."""


class DatabaseThreads:
    """Runs functions that read; each thread keeps one Django connection."""

    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """Run `work(*args)` on one of the threads. Raises ReadsUnavailable."""
        try:
            async with asyncio.timeout(MAX_READ_S):
                return await asyncio.get_running_loop().run_in_executor(self._executor, partial(_read, work, *args))
        except TimeoutError:
            raise ReadsUnavailable(f"no answer within {MAX_READ_S:g} s") from None

    async def close(self) -> None:
        """End the threads, and with them their connections."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._executor.shutdown)


def _read(work: Callable[..., T], *args: object) -> T:
    with query_timeout(settings.DATABASE_TIMEOUT):
        try:
            return work(*args)
        except DatabaseUnavailable:
            # The connection may be a leftover from before a restart of PostgreSQL; reading twice does no harm.
            connection.close()
        try:
            return work(*args)
        except DatabaseUnavailable as error:
            connection.close()
            raise ReadsUnavailable(one_line(error)) from error
