"""Telling a feed on which nothing happens from one on which nothing arrives."""

import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

import structlog
from django.utils import timezone

from exchange.feed import FeedDisconnected
from exchange.gateway import Found, Gateway
from orders.executions.feed_connection import ConnectionState
from orders.executions.feed_positions import FIRST_ID, active_feed, look_up_open_orders_soon, open_at_exchange
from orders.executions.gap_recovery import Answer, apply_answers
from orders.executions.look_ups import page_of
from orders.models import Order

log = structlog.get_logger()

# Nothing has come for so long: one of the open orders is looked up, each time another.
QUIET_S = 5.0
# A report that the exchange had so long ago, and that has not come, is missing.
OVERDUE_S = 10.0


class SilenceWatch:
    """Looks up one open order while nothing comes. An answer that contains reports which do not come shows a silent feed.

    Resting orders and a closed market raise no alarm: the exchange has no newer report then.
    """

    def __init__(self, gateway: Gateway, connection: ConnectionState, clock: Callable[[], float] = monotonic) -> None:
        self.gateway = gateway
        self.connection = connection
        self.clock = clock
        self.quiet_since_s = clock()
        self.looked_up_id = FIRST_ID
        # The newest report that the exchange has and we lack, and since when we know.
        self.missing_sequence: int | None = None
        self.missing_since_s = 0.0

    def report_arrived(self) -> None:
        self.quiet_since_s = self.clock()

    def forget(self) -> None:
        """A connection begins, which brings what is missing or shows that it is."""
        self.report_arrived()
        self.missing_sequence = None
        self.connection.speaks()

    async def look(self, taken: int, run_in_database: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        """`taken` is the newest report that we have. Raises FeedDisconnected when the exchange is in another session."""
        if self.missing_sequence is not None and taken >= self.missing_sequence:
            self.missing_sequence = None
            self.connection.speaks()
        elif self.missing_sequence is not None and self.clock() - self.missing_since_s > OVERDUE_S:
            if self.connection.silent_since is None:
                log.error("feed_silent", taken=taken, missing=self.missing_sequence)
            self.connection.is_silent(timezone.now())
            # What the feed does not tell is looked up, once a minute.
            await run_in_database(partial(look_up_open_orders_soon, active_feed(), timezone.now()))
        if self.clock() - self.quiet_since_s > QUIET_S:
            self.quiet_since_s = self.clock()
            await self.look_up_one(taken, run_in_database)

    async def look_up_one(self, taken: int, run_in_database: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        order = await run_in_database(partial(next_open_order, self.looked_up_id))
        if order is None:
            return
        self.looked_up_id, asked_at = order.id, timezone.now()
        found = await self.gateway.look_up(order.placement(asked_at))
        if not isinstance(found, Found):
            # Whether the exchange answers is seen elsewhere, and what it says of this order, too.
            return
        if found.session_id != self.connection.session_id:
            raise FeedDisconnected("the exchange is in another session")
        self.connection.heard(found.session_id, found.last_sequence)
        if found.last_sequence > taken and self.missing_sequence is None:
            self.missing_sequence, self.missing_since_s = found.last_sequence, self.clock()
        await run_in_database(partial(apply_answers, {order.id: Answer(found, asked_at)}))


def next_open_order(after: uuid.UUID) -> Order | None:
    """The open orders in turn."""
    acknowledged = open_at_exchange().filter(execution_status__isnull=False)
    return next(iter([*page_of(acknowledged, after, 1), *page_of(acknowledged, FIRST_ID, 1)]), None)
