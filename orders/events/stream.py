"""Reading order events so that none is missed, whichever order their transactions commit in.

A reader remembers the snapshot that it has read up to. What it has not seen yet is exactly what was written by the
transactions that this snapshot did not see: those that were running then, and all that began later. Both are ranges of
an index on `tx`, so the cost is that of the new events alone, however long some transaction stays open, and nothing has
to be remembered but the snapshot.

A server that crashes may hand out once more the numbers of transactions of which nothing had reached the disk: those that
were rolled back, or only notified somebody. A snapshot may know such a number as over, and what is written under it
later would be missed. So a snapshot here goes no further than the newest event that it sees, which is on the disk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

# Of events that one read may find.
MAX_EVENTS = 100_000
EVENTS_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """PostgreSQL's text for which transactions were over: `xmin:xmax:running,...` (its manual, "Transaction ID functions")."""

    text: str

    @property
    def unseen_from(self) -> int:
        """This transaction and all later ones had not begun."""
        return int(self.text.split(":")[1])

    def saw(self, tx: int) -> bool:
        """Whether what this transaction wrote was visible."""
        return tx < self.unseen_from and tx not in self.running

    @property
    def running(self) -> list[int]:
        """Earlier ones that had not ended."""
        return [int(number) for number in self.text.split(":")[2].split(",") if number]

    def up_to(self, newest: int) -> "Snapshot":
        """The same for events, if `newest` is the last transaction whose events it sees; later numbers mean nothing to it."""
        end = min(self.unseen_from, newest + 1)
        running = [number for number in self.running if number < end]
        return Snapshot(f"{min(running, default=end)}:{end}:{','.join(map(str, running))}")


class StreamPosition(NamedTuple):
    """Up to where events are known: all that `snapshot` saw, and of transaction `tx` those up to the id `event`.

    `after_id` is a second bound: all events up to that id are known, whoever wrote them.
    """

    snapshot: Snapshot
    tx: int = 0
    event: int = 0
    after_id: int = 0


# 3 is the first transaction that a database can have.
FROM_THE_BEGINNING = StreamPosition(Snapshot("3:3:"))
# What a backup brought back was written by transactions of another server, whose numbers mean nothing here.
# `orders.operations.restore` gives such events these two instead: one for those that the outbox relay had published, one for
# those that it had not. Initdb uses up the first few hundred numbers, so nothing else carries them.
RESTORED, RESTORED_UNPUBLISHED = 3, 4


class EventsFound(NamedTuple):
    """Ids of events, ascending, and the snapshot in which they were found; `is_too_much` when there are above MAX_EVENTS."""

    snapshot: Snapshot
    ids: list[int]
    is_too_much: bool


class EncodedEvent(NamedTuple):
    """A message as it is sent, the account and the order that it belongs to, and the transaction that wrote the event."""

    account_id: int
    text: str
    order_id: UUID
    tx: int


# Two columns for `_snapshot`. Nobody has transaction 2.
_NOW = "pg_current_snapshot()::text, coalesce((SELECT tx FROM orders_orderevent ORDER BY tx DESC LIMIT 1), '2')::text"


def _snapshot(text: str, newest: str) -> Snapshot:
    return Snapshot(text).up_to(int(newest))


def current_snapshot() -> Snapshot:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_NOW}")
        [row] = cursor.fetchall()
    return _snapshot(*row)


def events_after(position: StreamPosition, accounts: Sequence[int] | None = None, until: Snapshot | None = None) -> EventsFound:
    """What happened after `position`, as seen now or by `until`. `accounts` of None stands for all."""
    conditions = ["(tx >= %s::xid8 OR tx = ANY(%s::xid8[]))", "NOT (tx = %s::xid8 AND id <= %s)"]
    known = position.snapshot
    parameters: list[Any] = [str(known.unseen_from), [str(tx) for tx in known.running], str(position.tx), position.event]
    if position.after_id:
        conditions.append("id > %s")
        parameters.append(position.after_id)
    if accounts is not None:
        conditions.append("account_id = ANY(%s)")
        parameters.append(list(accounts))
    if until is not None:
        conditions.append("pg_visible_in_snapshot(tx, %s::pg_snapshot)")
        parameters.append(until.text)
    # Not sorted here: told to sort by id and stop at a limit, PostgreSQL may choose to walk through the whole history by id.
    query = f"SELECT id FROM orders_orderevent WHERE {' AND '.join(conditions)} LIMIT {MAX_EVENTS + 1}"  # noqa: S608 - our own words
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_NOW}, ARRAY({query})", parameters)
        [(text, newest, ids)] = cursor.fetchall()
    return EventsFound(_snapshot(text, newest), sorted(ids), len(ids) > MAX_EVENTS)


def events_since(known: Snapshot, page_size: int) -> Iterator[tuple[Snapshot, list[int]]]:
    """Pages of the ids of all events that `known` did not see, ascending, however many there are; at least one page.

    Each comes with the snapshot of now, which is what all of them together lead to. PostgreSQL keeps the list meanwhile
    (a cursor WITH HOLD, so that no transaction is open while the pages are worked on).
    """
    query = f"""
        WITH found AS MATERIALIZED (SELECT id FROM orders_orderevent WHERE tx >= %s::xid8 OR tx = ANY(%s::xid8[]))
        SELECT {_NOW}, found.id FROM (SELECT 1) AS always LEFT JOIN found ON true ORDER BY found.id"""  # noqa: S608 - our own words
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, [str(known.unseen_from), [str(tx) for tx in known.running]])
        while rows := cursor.fetchmany(page_size):
            yield _snapshot(*rows[0][:2]), [id for *_, id in rows if id is not None]


def encoded_events(ids: Sequence[int]) -> list[EncodedEvent]:
    """The messages of these events, in the order of their ids, with their orders as they are now."""
    with connection.cursor() as cursor:
        cursor.execute(_MESSAGES, [list(ids)])
        return [EncodedEvent(account_id, _encoded(row), row[3], int(tx)) for account_id, tx, *row in cursor.fetchall()]


def position_after(event_id: str, account_id: int | None) -> StreamPosition | None:
    """Where a client stands that has seen this event last; None when the account has no such event.

    All that such a client may lack was written by transactions that were not over when the event was written. Of the
    event's own transaction it has everything before it, since those become visible at once and are sent by id.
    An event that came back with a backup carries in `tx_floor` the lowest id among all that such a client may lack.
    """
    query = "SELECT tx::text, tx_floor::text, id FROM orders_orderevent WHERE event_id = %s"
    with connection.cursor() as cursor:
        cursor.execute(query + " AND account_id = %s" * (account_id is not None), [event_id, *_given(account_id)])
        for tx, floor, number in cursor.fetchall():
            if int(tx) in (RESTORED, RESTORED_UNPUBLISHED):
                return StreamPosition(FROM_THE_BEGINNING.snapshot, after_id=int(floor) - 1)
            return StreamPosition(Snapshot(f"{floor}:{floor}:"), int(tx), number)
    return None


def last_event_id(snapshot: Snapshot, account_id: int | None) -> str | None:
    """The newest event that `snapshot` sees: a client that saw what it saw can resume after it."""
    query = "SELECT event_id FROM orders_orderevent WHERE pg_visible_in_snapshot(tx, %s::pg_snapshot)"
    query += " AND account_id = %s" * (account_id is not None) + " ORDER BY tx DESC, id DESC LIMIT 1"
    with connection.cursor() as cursor:
        cursor.execute(query, [snapshot.text, *_given(account_id)])
        row = cursor.fetchone()
    return None if row is None else row[0]


def _given(account_id: int | None) -> list[int]:
    return [] if account_id is None else [account_id]


# Decimals and JSON come as text: nothing is lost by turning them into numbers, and no time either.
_MESSAGES = """
SELECT e.account_id, e.tx::text, e.event_id, e.type, e.occurred_at, e.order_id, o.client_order_id, u.username, e.data::text,
       o.type, o.side, o.instrument, o.limit_price::text, o.quantity, o.status,
       o.execution_status, o.filled_quantity, o.average_price::text, o.error_code, o.error_message
FROM orders_orderevent e JOIN orders_order o ON o.id = e.order_id JOIN auth_user u ON u.id = e.account_id
WHERE e.id = ANY(%s)
ORDER BY e.id
"""
_ORDER_FIELDS = (
    "type",
    "side",
    "instrument",
    "limit_price",
    "quantity",
    "status",
    "execution_status",
    "filled_quantity",
    "average_price",
    "error_code",
    "error_message",
)


def _encoded(row: Sequence[Any]) -> str:
    event_id, kind, occurred_at, order_id, client_order_id, account, data, *order = row
    message = {
        "event_id": event_id,
        "type": kind,
        "occurred_at": occurred_at,
        "order_id": order_id,
        "client_order_id": client_order_id,
        "account": account,
        "data": orjson.Fragment(data),
        "order": dict(zip(_ORDER_FIELDS, order, strict=True)),
    }
    return orjson.dumps(message, option=orjson.OPT_UTC_Z).decode()
