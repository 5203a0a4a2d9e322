"""Storing new orders in one statement, and orders that arrive at the same time with one commit.

With a statement for each order PostgreSQL would read 24 CHECK constraints, write its log and wait for the disk every time.
So one of the threads that have orders to store leads: it stores everything that has arrived as one batch, then hands over
to a thread that arrived meanwhile (group commit, as databases do it with their logs). There is no timer, and a lone request
is a batch of one.
"""

import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

import orjson
import psycopg
from django.db import DatabaseError, connection, transaction

from infrastructure.database.base import QueryBudget, in_transaction, query_budget, run_prepared
from infrastructure.database.errors import DatabaseUnavailable
from orders.models import Order
from orders.risk.pre_trade import nothing_to_check
from orders.states import EventType
from orders.storage import EVENT_COLUMNS, ORDER_COLUMNS
from orders.wakeups import carrier
from orders.wakeups.django_q import QUEUE_TASK

# The rest waits for the next batch, so that no request waits for many others.
MAX_BATCH = 50
# One statement is one round trip and one transaction. A halt, a limit or a known client order id keeps back its own request
# only. A row lock would keep back the whole batch, so there is a short limit on waiting for one. Known client order ids are
# found by the unique index: a query for them might be planned while the table was empty, and then read all of it.
STORE_AT_ONCE = f"""
WITH lock_limit AS MATERIALIZED (SELECT set_config('lock_timeout', '100ms', true)), allowed AS MATERIALIZED (
    SELECT request.orders FROM json_to_recordset(%(requests)s::json) AS request
        (account_id integer, instruments text[], orders json)
    WHERE EXISTS (SELECT FROM lock_limit) AND {nothing_to_check("request.account_id", "request.instruments")}
), stored AS (
    INSERT INTO orders_order ({ORDER_COLUMNS})
    SELECT {ORDER_COLUMNS} FROM allowed, json_populate_recordset(NULL::orders_order, allowed.orders)
    ON CONFLICT (account_id, client_order_id) DO NOTHING
    RETURNING id
), told AS (
    INSERT INTO orders_orderevent ({EVENT_COLUMNS})
    SELECT new.event_id, new.id, new.account_id, '{EventType.ACCEPTED.value}', '{{}}', new.created_at, new.created_at
    FROM allowed, json_to_recordset(allowed.orders) AS new (event_id text, id uuid, account_id integer, created_at timestamptz)
    WHERE new.id IN (SELECT id FROM stored)
), woken AS ({QUEUE_TASK} AND EXISTS (SELECT FROM stored))
SELECT id FROM stored"""  # noqa: S608 - no value stands in it


@dataclass(frozen=True, slots=True)
class PendingInsert:
    """New orders of one account. `orders` are their rows in JSON, each with the `event_id` of its `accepted` event.

    They are sorted by client order id; `client_order_id` is the first of these.
    """

    ids: Sequence[uuid.UUID]
    account_id: int
    instruments: Sequence[str]
    client_order_id: str
    orders: str

    @property
    def sort_key(self) -> tuple[int, str]:
        """Two transactions that insert the same client order ids in different orders would deadlock."""
        return self.account_id, self.client_order_id


def store_requests(requests: Sequence[PendingInsert]) -> set[uuid.UUID]:
    """Store the orders that can be stored at once, and return their ids. Raises Django's database errors."""
    return {id for [id] in run_prepared(STORE_AT_ONCE, parameters(requests))}


def parameters(requests: Sequence[PendingInsert]) -> dict[str, Any]:
    """Of STORE_AT_ONCE."""
    rows = [
        {"account_id": request.account_id, "instruments": request.instruments, "orders": orjson.Fragment(request.orders)}
        for request in sorted(requests, key=attrgetter("sort_key"))
    ]
    return {"requests": orjson.dumps(rows).decode(), **carrier().task_parameters()}


class Waiter:
    """A request whose thread waits: it is woken when its orders are stored or refused, or to lead the next batch."""

    def __init__(self, request: PendingInsert) -> None:
        self.request = request
        # A spurious wakeup does no harm, and nothing waits for a late one.
        self.wakeup: SimpleQueue[None] = SimpleQueue()
        self.leads = False
        self.is_done = False
        # None when it is unknown, because the batch failed on account of one of its requests.
        self.is_stored: bool | None = None
        # A failed batch may still have been stored, or yet be stored, unless the server said that it was rolled back.
        self.is_in_doubt = True
        self.database_unavailable: DatabaseError | None = None


class GroupCommit:
    """The requests of the threads of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: list[Waiter] = []
        self.has_leader = False

    def store(self, request: PendingInsert) -> bool:
        """Whether its one order was stored; False when it cannot be stored at once. Raises Django's database errors.

        The caller must not be inside a transaction, which could not roll the order back. It takes no longer than one
        statement may.
        """
        own = query_budget()
        if own is not None and own.is_over:
            raise DatabaseUnavailable("the database has not answered this request before")
        waiter = Waiter(request)
        with self.lock:
            self.waiting.append(waiter)
            waiter.leads = not self.has_leader
            self.has_leader = True
        if not waiter.leads:
            self.wait(waiter, own)
        if not waiter.is_done:
            self.lead(own)
        if waiter.database_unavailable is not None:
            raise DatabaseUnavailable(*waiter.database_unavailable.args) from waiter.database_unavailable
        return store_alone(waiter) if waiter.is_stored is None else waiter.is_stored

    def wait(self, waiter: Waiter, own: QueryBudget | None) -> None:
        """Until the waiter is done, or leads. Raises DatabaseUnavailable when that takes too long."""
        began_s = monotonic()
        with suppress(Empty):
            waiter.wakeup.get(timeout=None if own is None else own.limit_s)
        if own is not None:
            own.consume(monotonic() - began_s)
        with self.lock:
            if waiter.leads or waiter.is_done:
                return
            if waiter in self.waiting:
                self.waiting.remove(waiter)
        raise DatabaseUnavailable("the database did not answer another request in time")

    def lead(self, own: QueryBudget | None) -> None:
        """Store the batch that waits, which includes the caller's request, and let the next one begin."""
        with self.lock:
            batch, self.waiting = self.waiting[:MAX_BATCH], self.waiting[MAX_BATCH:]
        try:
            stored = store_requests([waiter.request for waiter in batch])
            for waiter in batch:
                waiter.is_stored = stored.issuperset(waiter.request.ids)
        except DatabaseError as error:
            if own is not None and own.is_over:
                # It would not answer the others either, whose time is over as well.
                with self.lock:
                    batch, self.waiting = batch + self.waiting, []
                for waiter in batch:
                    waiter.database_unavailable = error
            elif len(batch) == 1:
                raise
            # Otherwise the cause is one of the requests, or this connection: each request tries by itself.
            for waiter in batch:
                waiter.is_in_doubt = not is_rolled_back(error)
        finally:
            with self.lock:
                following = self.waiting[:1]
                self.has_leader = bool(following)
                for waiter in following:
                    waiter.leads = True
                for waiter in batch:
                    waiter.is_done = True
            for waiter in batch + following:
                waiter.wakeup.put(None)


@in_transaction
def store_whole(request: PendingInsert) -> bool:
    """Whether all of its orders were stored; otherwise none is."""
    is_whole = store_requests([request]).issuperset(request.ids)
    if not is_whole:
        transaction.set_rollback(True)
    return is_whole


def store_alone(waiter: Waiter) -> bool:
    """Store one request of a batch that failed. Raises Django's database errors."""
    ids = waiter.request.ids
    try:
        if store_requests([waiter.request]).issuperset(ids) or Order.objects.filter(id__in=ids).exists():
            return True
    except DatabaseUnavailable as error:
        if not (waiter.is_in_doubt and is_rolled_back(error)):
            raise
    if waiter.is_in_doubt:
        # The failed batch may be committing right now and hold the lock that this insert met. A second insert under another
        # id would make two orders.
        raise DatabaseUnavailable("whether the order is stored cannot be told yet")
    return False


def is_rolled_back(error: DatabaseError) -> bool:
    """Whether the server said that the statement failed, and not only that it closes the connection."""
    return isinstance(error.__cause__, psycopg.Error) and error.__cause__.diag.severity_nonlocalized == "ERROR"


group_commit = GroupCommit()


def store_request(request: PendingInsert) -> bool:
    """Whether all of its orders were stored; otherwise none is. Raises Django's database errors."""
    if len(request.ids) > 1:
        # A batch of orders would keep single orders waiting.
        return store_whole(request)
    if connection.in_atomic_block:
        # The caller can roll it back.
        return store_requests([request]).issuperset(request.ids)
    return group_commit.store(request)
