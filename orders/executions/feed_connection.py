"""Whether the exchange's feed is connected. Only the update consumer knows; it stores the state for operators to see."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog
from django.utils import timezone

from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from infrastructure.database_thread import DatabaseThread
from orders.models import FeedConnection

log = structlog.get_logger()

REPORT_INTERVAL_S = 2.0
# A state that was stored longer ago than this says nothing about the present.
SILENT_AFTER = timedelta(seconds=10)
MAX_PROBLEM_LENGTH = 500


class ConnectionState:
    """The state as the follower knows it. `changed` is set whenever there is something new to store."""

    def __init__(self) -> None:
        self.problem: str | None = "not connected yet"
        self.changed = asyncio.Event()
        # Whether we are the active follower, the only one that stores the state.
        self.is_ours = False
        self.session_id: str | None = None
        self.last_sequence: int | None = None
        # Since when reports that the exchange has are missing although the feed is connected.
        self.silent_since: datetime | None = None

    def heard(self, session_id: str, sequence: int) -> None:
        """Note that the exchange has reports up to this one."""
        if session_id != self.session_id or self.last_sequence is None:
            self.session_id, self.last_sequence = session_id, sequence
        self.last_sequence = max(self.last_sequence, sequence)

    def made(self) -> None:
        self.problem = None
        self.changed.set()

    def lost(self, problem: str) -> None:
        self.problem = problem or "the connection ended"
        self.changed.set()

    def is_silent(self, now: datetime) -> None:
        self.silent_since = self.silent_since or now
        self.changed.set()

    def speaks(self) -> None:
        self.silent_since = None
        self.changed.set()

    async def tell_forever(self, feed: str, database: DatabaseThread) -> None:
        """Store the state at each change and every few seconds, while we are the active follower."""
        while True:
            self.changed.clear()
            if self.is_ours:
                try:
                    state = self.problem, self.session_id, self.last_sequence, self.silent_since
                    await database.run(partial(save_connection, feed, *state))
                except DatabaseUnavailable as error:
                    log.warning("database_unavailable", doing="store the feed's connection", error=one_line(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), REPORT_INTERVAL_S)


def save_connection(
    feed: str,
    problem: str | None,
    session_id: str | None = None,
    last_sequence: int | None = None,
    silent_since: datetime | None = None,
) -> None:
    """Store the state and when it began. Only the active follower does this, so no other process writes the row."""
    now = timezone.now()
    is_connected = problem is None
    before = FeedConnection.objects.filter(feed=feed).first()
    FeedConnection(
        feed=feed,
        is_connected=is_connected,
        since=before.since if before is not None and before.is_connected == is_connected else now,
        problem=problem and problem[:MAX_PROBLEM_LENGTH],
        said_at=now,
        session_id=session_id,
        last_sequence=last_sequence,
        silent_since=silent_since,
    ).save()
