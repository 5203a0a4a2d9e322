"""The base of the followers of the exchange's feed: only one is active at a time, and it reconnects for as long as it runs."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from exchange.feed import FeedDisconnected
from exchange.gateway import Gateway
from exchange.reports import Session
from infrastructure.backoff import Backoff
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from infrastructure.database_thread import ActiveLock, DatabaseThread
from orders.executions.feed_connection import ConnectionState
from orders.executions.feed_silence import SilenceWatch
from orders.executions.gap_look_ups import LookUps
from orders.models import FeedPosition

log = structlog.get_logger()

STANDBY_S = 1.0
DATABASE_RETRY_S = 0.5
WATCH_INTERVAL_S = 1.0


class Superseded(Exception):
    """The database connection broke and the lock was lost with it; another follower may be active now."""


class FeedFollower:
    """The active follower of a feed. A second one waits until the first is gone.

    The active follower holds a lock on the database connection of `database`.
    """

    def __init__(self, url: str, gateway: Gateway, feed: str) -> None:
        self.url = url
        self.feed = feed
        self.lock = ActiveLock(feed)
        self.database = DatabaseThread("update-database")
        self.backoff = Backoff()
        self.connection = ConnectionState()
        self.look_ups = LookUps(gateway, feed, self.alone)
        self.silence = SilenceWatch(gateway, self.connection)

    async def follow(self) -> None:
        """Follow one connection of the feed. Raises FeedDisconnected, Superseded, DatabaseUnavailable, or a group of them."""
        raise NotImplementedError

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.connection.tell_forever(self.feed, self.database))
                await self.follow_forever()
        finally:
            await self.database.close()

    async def follow_forever(self) -> None:
        while True:
            try:
                await self.wait_until_active()
                # Orders are looked up even while the feed is disconnected.
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.look_ups.run())
                    await self.follow_while_active()
            except* Superseded:
                log.warning("superseded", feed=self.feed)
            except* DatabaseUnavailable as errors:
                log.warning("database_unavailable", doing="follow the feed", error=one_line(errors.exceptions[0]))
                self.connection.lost("the database was unavailable")
                await asyncio.sleep(DATABASE_RETRY_S)

    async def follow_while_active(self) -> None:
        """Follow the feed, reconnecting whenever it ends. Raises Superseded, DatabaseUnavailable, or a group of them."""
        while True:
            try:
                await self.follow()
            except* FeedDisconnected as ended:
                log.warning("feed_disconnected", reason=str(ended.exceptions[0]))
                self.connection.lost(str(ended.exceptions[0]))
                await self.backoff.wait()

    async def wait_until_active(self) -> None:
        self.connection.is_ours = False
        while not await self.database.run(self.lock.hold):  # noqa: ASYNC110 - a lock has no event to wait for
            await asyncio.sleep(STANDBY_S)
        self.connection.is_ours = True

    def is_active(self) -> bool:
        """Whether we still hold the lock. Called on the database's thread."""
        return self.lock.is_held()

    async def alone(self, work: Callable[[], Any]) -> Any:
        """Run `work()` on the database's thread. Raises Superseded instead if we are no longer the active follower."""

        def work_if_active() -> Any:
            if not self.is_active():
                raise Superseded
            return work()

        return await self.database.run(work_if_active)

    async def watch_for_silence(self, applied: Callable[[], int]) -> None:
        """While the feed is quiet, check whether reports are missing. `applied` returns the newest report's sequence."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            try:
                await self.silence.look(applied(), self.alone)
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", doing="watch the feed", error=one_line(error))


def missing_before(session: Session, position: FeedPosition) -> str | None:
    """Why reports may be missing between `position` and the first one that the feed still has, or None."""
    if session.session_id != position.session_id:
        return "new session"
    if session.first_sequence > position.sequence + 1:
        return "gap"
    if position.sequence > session.last_sequence:
        return "position beyond the end of the feed"
    return None
