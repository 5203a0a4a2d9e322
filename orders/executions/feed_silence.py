"""Tell a feed that has nothing to report from one whose reports do not arrive."""

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
from orders.executions.gap_look_ups import page_of
from orders.executions.gap_recovery import Answer, apply_answers
from orders.models import Order

log = structlog.get_logger()

# After this long without a report, one of the open orders is looked up, each time another one.
QUIET_S = 5.0
# A report that the exchange has had for this long, and that has not arrived, is missing.
OVERDUE_S = 10.0


class SilenceWatch:
    """Looks up an open order while no report arrives. If the exchange then has reports that never arrive, the feed is silent.

    Resting orders and a closed market raise no alarm, because the exchange has no newer report then.
    """

    def __init__(self, gateway: Gateway, connection: ConnectionState, clock: Callable[[], float] = monotonic) -> None:
        self.gateway = gateway
        self.connection = connection
        self.clock = clock
        self.quiet_since_s = clock()
        self.looked_up_id = FIRST_ID
        # A report that the exchange has and that has not arrived, and since when we know of it.
        self.missing_sequence: int | None = None
        self.missing_since_s = 0.0

    def report_arrived(self) -> None:
        self.quiet_since_s = self.clock()

    def forget(self) -> None:
        """Start anew with a new connection: it either brings the missing reports or shows that they are gone."""
        self.report_arrived()
        self.missing_sequence = None
        self.connection.speaks()

    async def look(self, taken: int, run_in_database: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        """Check for missing reports. `taken` is the sequence of the newest report that we have.

        Raises FeedDisconnected when the exchange is in another session.
        """
        if self.missing_sequence is not None and taken >= self.missing_sequence:
            self.missing_sequence = None
            self.connection.speaks()
        elif self.missing_sequence is not None and self.clock() - self.missing_since_s > OVERDUE_S:
            if self.connection.silent_since is None:
                log.error("feed_silent", taken=taken, missing=self.missing_sequence)
            self.connection.is_silent(timezone.now())
            # Look-ups replace the missing reports, once a minute.
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
            # Other parts deal with an exchange that does not answer, and with other answers about this order.
            return
        if found.session_id != self.connection.session_id:
            raise FeedDisconnected("the exchange is in another session")
        self.connection.heard(found.session_id, found.last_sequence)
        if found.last_sequence > taken and self.missing_sequence is None:
            self.missing_sequence, self.missing_since_s = found.last_sequence, self.clock()
        await run_in_database(partial(apply_answers, {order.id: Answer(found, asked_at)}))


def next_open_order(after: uuid.UUID) -> Order | None:
    """The open order that follows the id `after`, starting over at the end; None if there is none."""
    acknowledged = open_at_exchange().filter(execution_status__isnull=False)
    return next(iter([*page_of(acknowledged, after, 1), *page_of(acknowledged, FIRST_ID, 1)]), None)
