"""What the followers of the exchange's feed have in common: one is active, and it connects again for as long as it lives."""

import asyncio
import random

import structlog
from django.db import InterfaceError, OperationalError

from exchange.feed import FeedDisconnected
from exchange.gateway import Gateway
from exchange.reports import Session
from lemon_market.database.away import one_line
from orders.database_thread import ActiveLock, DatabaseThread
from orders.feed_connection import ConnectionState
from orders.models import FeedPosition
from orders.reconciling import Reconciler

log = structlog.get_logger()

RECONNECT_BASE_S = 0.1
RECONNECT_CAP_S = 5.0
STANDBY_S = 1.0
DATABASE_RETRY_S = 0.5


class Superseded(Exception):
    """Our database connection broke, and with it the lock; another follower is active now."""


class FeedFollower:
    """The one active follower of a feed; a second one waits until the first has gone.

    Being active is a lock that belongs to the database connection of `database`.
    """

    def __init__(self, url: str, gateway: Gateway, feed: str) -> None:
        self.url = url
        self.feed = feed
        self.lock = ActiveLock(feed)
        self.database = DatabaseThread("update-database")
        self.reconciler = Reconciler(gateway, self.database)
        self.back_off = BackOff()
        self.connection = ConnectionState()

    async def follow(self) -> None:
        """One connection of the feed. Raises FeedDisconnected, Superseded, OperationalError or InterfaceError, or a group."""
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
                await self.follow()
            except* FeedDisconnected as ended:
                log.warning("feed_disconnected", reason=str(ended.exceptions[0]))
                self.connection.lost(str(ended.exceptions[0]))
                await self.back_off.wait()
            except* Superseded:
                log.warning("superseded", feed=self.feed)
            except* (OperationalError, InterfaceError) as errors:
                log.warning("database_away", doing="follow the feed", error=one_line(errors.exceptions[0]))
                self.connection.lost("the database was away")
                await asyncio.sleep(DATABASE_RETRY_S)

    async def wait_until_active(self) -> None:
        self.connection.is_ours = False
        while not await self.database.run(self.lock.hold):  # noqa: ASYNC110 - a lock has no event to wait for
            await asyncio.sleep(STANDBY_S)
        self.connection.is_ours = True


class BackOff:
    """Random and growing pauses between connections, until one of them brought something."""

    def __init__(self) -> None:
        self.failures = 0

    async def wait(self) -> None:
        ceiling_s = min(RECONNECT_CAP_S, RECONNECT_BASE_S * 2 ** min(self.failures, 16))
        self.failures += 1
        # Full jitter, as for placements.
        await asyncio.sleep(ceiling_s * random.random())  # noqa: S311 - nothing secret

    def reset(self) -> None:
        self.failures = 0


def missing_before(session: Session, position: FeedPosition) -> str | None:
    """Why reports may be missing between `position` and what the feed still has, or None."""
    if session.session_id != position.session_id:
        return "new session"
    if session.first_sequence > position.sequence + 1:
        return "gap"
    if position.sequence > session.last_sequence:
        return "position beyond the end of the feed"
    return None
