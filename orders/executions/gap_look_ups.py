"""Look orders up at the exchange when reports about them are missing or contradict what is known.

The database says which orders these are: each has `look_up_at`, and when any open order may be affected, the feed's position
says so. So a crash forgets none, and the feed is followed meanwhile.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from exchange.gateway import Gateway, Unavailable, Unknown
from infrastructure.backoff import Backoff
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from orders.executions.feed_positions import FIRST_ID, load_position, open_at_exchange, save
from orders.executions.gap_recovery import Answer, apply_answers
from orders.models import Order
from orders.order_ids import first_id_at
from orders.venue import LOOK_UPS_AT_ONCE

log = structlog.get_logger()

ORDERS_AT_ONCE = 500
# Look-ups fail now and then. After this many failures in a row, with growing pauses, the order is left for later.
LOOK_UP_ATTEMPTS = 6
POLL_S = 0.5
# Runs work on the database's thread. It may raise once we are no longer the active follower.
RunInDatabase = Callable[[Callable[[], Any]], Awaitable[Any]]


class ExchangeUnavailable(Exception):
    """No look-up of several orders was answered."""


class LookUps:
    """Looks up due orders for as long as `run` runs, which is only in the active follower of a feed."""

    def __init__(self, gateway: Gateway, feed: str, run_in_database: RunInDatabase) -> None:
        self.gateway = gateway
        self.feed = feed
        self.run_in_database = run_in_database
        self.backoff = Backoff()

    async def run(self) -> None:
        """Look up orders, retrying while the exchange or database is unavailable. Raises other errors of `run_in_database`."""
        while True:
            try:
                if not await self.look_up_some():
                    await asyncio.sleep(POLL_S)
                self.backoff.reset()
            except ExchangeUnavailable as error:
                log.warning("look_ups_unanswered", reason=str(error))
                await self.backoff.wait()
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", doing="look up orders", error=one_line(error))
                await self.backoff.wait()

    async def look_up_some(self) -> bool:
        """Look up a page of due orders, or else of the open orders if all of them are wanted. Return whether there was one.

        Raises ExchangeUnavailable when no look-up was answered. The orders are due again then, and until an answer comes, one
        order at a time is looked up, each time another one.
        """
        limit = 1 if self.backoff.failures else ORDERS_AT_ONCE
        due = await self.run_in_database(partial(due_for_look_up, limit))
        if due:
            await self.look_up(due)
            return True
        page = await self.run_in_database(partial(next_open_orders, self.feed, limit))
        if page is None:
            return False
        await self.look_up(page, of_open_orders=True)
        return True

    async def look_up(self, orders: Sequence[Order], *, of_open_orders: bool = False) -> None:
        answers = await ask(self.gateway, orders)
        differing = await self.run_in_database(partial(apply_answers, answers))
        if of_open_orders:
            # Orders without an answer have their own `look_up_at` now.
            await self.run_in_database(partial(looked_up_until, self.feed, orders))
        log.info("reconciled", looked_up=len(answers), differing=differing)
        refuse_silence(answers)


def due_for_look_up(limit: int) -> list[Order]:
    return list(Order.objects.to_look_up(timezone.now())[:limit])


@transaction.atomic
def next_open_orders(feed: str, limit: int) -> list[Order] | None:
    """The next page of open orders while all of them are to be looked up, an empty one at the end. None otherwise."""
    now = timezone.now()
    position = load_position(feed)
    if position.look_up_open_at is not None and position.look_up_open_at <= now:
        position.look_up_open_began_at, position.look_up_open_after = now, FIRST_ID
        save(feed, look_up_open_at=None, look_up_open_began_at=now, look_up_open_after=FIRST_ID)
    if position.look_up_open_after is None or position.look_up_open_began_at is None:
        return None
    # Orders accepted since then cannot be affected by the loss.
    accepted_before = first_id_at(position.look_up_open_began_at)
    return page_of(open_at_exchange().filter(id__lt=accepted_before), position.look_up_open_after, limit)


def looked_up_until(feed: str, page: Sequence[Order]) -> None:
    save(feed, look_up_open_after=page[-1].id if page else None)


def page_of(orders: QuerySet[Order], after: uuid.UUID, limit: int = ORDERS_AT_ONCE) -> list[Order]:
    return list(orders.filter(id__gt=after).order_by("id")[:limit])


async def ask(gateway: Gateway, orders: Sequence[Order]) -> dict[uuid.UUID, Answer]:
    """Look up the orders and return the answers."""
    slots = asyncio.Semaphore(LOOK_UPS_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask_until_answered(gateway, order, slots)) for order in orders]
    return {order.id: task.result() for order, task in zip(orders, tasks, strict=True)}


def refuse_silence(answers: Mapping[uuid.UUID, Answer]) -> None:
    """Raises ExchangeUnavailable when there are look-ups and none was answered."""
    unanswered = [answer.outcome for answer in answers.values() if isinstance(answer.outcome, Unavailable | Unknown)]
    if unanswered and len(unanswered) == len(answers):
        raise ExchangeUnavailable(unanswered[0].reason)


async def ask_until_answered(gateway: Gateway, order: Order, slots: asyncio.Semaphore) -> Answer:
    backoff = Backoff()
    for attempt in range(1, LOOK_UP_ATTEMPTS + 1):
        async with slots:
            asked_at = timezone.now()
            outcome = await gateway.look_up(order.placement(asked_at))
        if not isinstance(outcome, Unavailable | Unknown) or attempt == LOOK_UP_ATTEMPTS:
            break
        await backoff.wait()
    return Answer(outcome, asked_at)
