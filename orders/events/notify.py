"""Notify other processes at once that something was committed, without slowing the commits down.

A NOTIFY inside a transaction serialises all commits of the database. So each process sends it after its commits, through a
separate connection, at most once every `COALESCE_S` for each channel. A notification may be lost, so listeners also poll.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import psycopg
import structlog
from django.db import connection, transaction

from infrastructure.database.errors import is_unavailable
from infrastructure.database.parameters import connection_parameters
from infrastructure.database.unavailable import one_line

log = structlog.get_logger()

ORDERS_DUE = "orders_due"
ORDER_EVENTS = "order_events"
COALESCE_S = 0.01
RECONNECT_S = 1.0
# Guards against two threads that send the first notification at the same time.
starting = threading.Lock()


class Notifier:
    """Sends NOTIFY from a thread, which the first notification in each process starts."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.channels: set[str] = set()
        self.requested = threading.Event()
        self.thread: threading.Thread | None = None
        self.process: int | None = None
        self.is_closing = False

    def notify(self, channel: str) -> None:
        """Notify the listeners of `channel` soon. Never blocks, never fails."""
        if self.process != os.getpid():
            self.start()
        # If the channel is still in `channels`, its NOTIFY is yet to be sent, which also covers this call.
        if channel not in self.channels:
            self.add({channel})

    def start(self) -> None:
        """Start the thread, at the first notification and at the first after a fork, since threads do not survive a fork."""
        with starting:
            if self.process == os.getpid():
                return
            self.reset()
            self.process = os.getpid()
            self.thread = threading.Thread(target=self.notify_forever, name="notifier", daemon=True)
            self.thread.start()

    def add(self, channels: set[str]) -> None:
        with self.lock:
            self.channels |= channels
        self.requested.set()

    def take(self) -> set[str]:
        with self.lock:
            self.requested.clear()
            channels, self.channels = self.channels, set()
        return channels

    def close(self) -> None:
        """End the thread and its connection; a later notification starts them again."""
        if self.thread is not None and self.process == os.getpid():
            self.is_closing = True
            self.requested.set()
            self.thread.join()
        self.process = self.thread = None

    def notify_forever(self) -> None:
        database: psycopg.Connection[Any] | None = None
        # Never set; used only to wait.
        pause = threading.Event()
        while not self.is_closing:
            self.requested.wait()
            pause.wait(COALESCE_S)
            channels = self.take()
            try:
                if database is None:
                    database = psycopg.connect(**connection_parameters(), autocommit=True)
                database.execute("SELECT pg_notify(channel, '') FROM unnest(%s::text[]) AS channel", [list(channels)])
            except psycopg.Error as error:
                if not is_unavailable(error):
                    raise
                log.debug("notification_not_sent", error=one_line(error))
                if database is None:
                    pause.wait(RECONNECT_S)
                else:
                    database.close()
                    database = None
                self.add(channels)
        if database is not None:
            database.close()


notifier = Notifier()


def after_commit(act: Callable[[], object]) -> None:
    """Call `act` when the caller's transaction commits, or now if there is none.

    Without a transaction, Django's `on_commit` would need a connection, and the call must not fail for lack of one when the
    work is already committed.
    """
    if connection.in_atomic_block:
        transaction.on_commit(act)
    else:
        act()


def notify_after_commit(channel: str) -> None:
    after_commit(partial(notifier.notify, channel))


async def listen(channel: str) -> AsyncIterator[None]:
    """Yield after each connect and after each notification of `channel`; notifications that arrive together may count as one.

    Never ends by itself. While the database is unavailable it reconnects every `RECONNECT_S`.
    """
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(**connection_parameters(), autocommit=True) as database:
                await database.execute(f"LISTEN {channel}")
                yield
                async for _ in database.notifies():
                    yield
        except psycopg.Error as error:
            if not is_unavailable(error):
                raise
            log.debug("listening_interrupted", error=one_line(error))
        await asyncio.sleep(RECONNECT_S)
