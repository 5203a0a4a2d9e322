"""Read order events without missing any, in whatever order their transactions commit.

A reader remembers the snapshot up to which it has read. The events that it has not seen are exactly those written by the
transactions that this snapshot does not see: those that were running then, and all that began later. Both are found by an
index on `tx`, so the cost depends on the new events alone, however long some transaction stays open. Nothing but the
snapshot has to be remembered.

After a crash the server may reuse the numbers of transactions of which nothing had reached the disk, because they were
rolled back or only sent a NOTIFY. A snapshot may count such a number as finished, so that events written under it later
would be missed. So a snapshot here goes no further than the newest event that it sees, which is on the disk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from orders.rendering import render

# The most events that one read may return.
MAX_EVENTS = 100_000
EVENTS_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The transactions that had ended, as PostgreSQL's text `xmin:xmax:running,...` (manual, "Transaction ID functions")."""

    text: str

    @property
    def unseen_from(self) -> int:
        """The number of the first transaction that had not begun."""
        return int(self.text.split(":")[1])

    def saw(self, tx: int) -> bool:
        """Whether what this transaction wrote was visible."""
        return tx < self.unseen_from and tx not in self.running

    @property
    def running(self) -> list[int]:
        """The transactions that had begun and not ended."""
        return [int(number) for number in self.text.split(":")[2].split(",") if number]

    def up_to(self, newest: int) -> "Snapshot":
        """A snapshot that sees the same events and ends at `newest`, the last transaction whose events this one sees."""
        end = min(self.unseen_from, newest + 1)
        running = [number for number in self.running if number < end]
        return Snapshot(f"{min(running, default=end)}:{end}:{','.join(map(str, running))}")


class StreamPosition(NamedTuple):
    """How far events are known: all that `snapshot` sees, and those of transaction `tx` up to the id `event`.

    `after_id` is a second bound: all events up to that id are known, whichever transaction wrote them.
    """

    snapshot: Snapshot
    tx: int = 0
    event: int = 0
    after_id: int = 0


# 3 is the number of the first transaction that a database can have.
FROM_THE_BEGINNING = StreamPosition(Snapshot("3:3:"))
# Restored events were written by transactions of another server, whose numbers mean nothing here. `orders.operations.restore`
# gives such events one of these numbers instead: the first if the outbox relay had published the event, the second if not.
# initdb uses up the first few hundred numbers, so no other event has them.
RESTORED, RESTORED_UNPUBLISHED = 3, 4


class EventsFound(NamedTuple):
    """Ids of events, ascending, and the snapshot in which they were found. `is_too_much` if there are more than MAX_EVENTS."""

    snapshot: Snapshot
    ids: list[int]
    is_too_much: bool


class EncodedEvent(NamedTuple):
    """An event's message as it is sent, with its account and order and the transaction that wrote the event."""

    account_id: int
    text: str
    order_id: UUID
    tx: int


# Two columns, the arguments of `_snapshot`. No transaction has the number 2.
_NOW = "pg_current_snapshot()::text, coalesce((SELECT tx FROM orders_orderevent ORDER BY tx DESC LIMIT 1), '2')::text"


def _snapshot(text: str, newest: str) -> Snapshot:
    return Snapshot(text).up_to(int(newest))


def current_snapshot() -> Snapshot:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_NOW}")
        [row] = cursor.fetchall()
    return _snapshot(*row)


def events_after(position: StreamPosition, accounts: Sequence[int] | None = None, until: Snapshot | None = None) -> EventsFound:
    """The events after `position` that are visible now, or to `until`. `accounts` of None means all accounts."""
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
    # Not sorted in SQL: with ORDER BY id and a limit, PostgreSQL may choose to scan the whole history by id.
    query = f"SELECT id FROM orders_orderevent WHERE {' AND '.join(conditions)} LIMIT {MAX_EVENTS + 1}"  # noqa: S608 - our own words
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_NOW}, ARRAY({query})", parameters)
        [(text, newest, ids)] = cursor.fetchall()
    return EventsFound(_snapshot(text, newest), sorted(ids), len(ids) > MAX_EVENTS)


def events_since(known: Snapshot, page_size: int) -> Iterator[tuple[Snapshot, list[int]]]:
    """Yield pages of the ids of all events that `known` does not see, ascending, however many there are; at least one page.

    Each page comes with the current snapshot, which is reached after the last page. PostgreSQL keeps the list meanwhile
    (a cursor WITH HOLD, so that no transaction is open while the pages are processed).
    """
    query = f"""
        WITH found AS MATERIALIZED (SELECT id FROM orders_orderevent WHERE tx >= %s::xid8 OR tx = ANY(%s::xid8[]))
        SELECT {_NOW}, found.id FROM (SELECT 1) AS always LEFT JOIN found ON true ORDER BY found.id"""  # noqa: S608 - our own words
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, [str(known.unseen_from), [str(tx) for tx in known.running]])
        while rows := cursor.fetchmany(page_size):
            yield _snapshot(*rows[0][:2]), [id for *_, id in rows if id is not None]


def encoded_events(ids: Sequence[int]) -> list[EncodedEvent]:
    """The messages of these events, sorted by id, with the current state of their orders."""
    with connection.cursor() as cursor:
        cursor.execute(_MESSAGES, [list(ids)])
        return [EncodedEvent(account_id, _encoded(row), row[3], int(tx)) for account_id, tx, *row in cursor.fetchall()]


def position_after(event_id: str, account_id: int | None) -> StreamPosition | None:
    """The position of a client that saw this event last; None if the account has no such event.

    All events that such a client may lack were written by transactions that had not ended when the event was written. Of
    the event's own transaction the client has all earlier events, since these become visible together and are sent by id.
    In a restored event, `tx_floor` is the lowest id of the events that such a client may lack.
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
    """The newest event that `snapshot` sees. A client that has seen all events of the snapshot can resume after it."""
    query = "SELECT event_id FROM orders_orderevent WHERE pg_visible_in_snapshot(tx, %s::pg_snapshot)"
    query += " AND account_id = %s" * (account_id is not None) + " ORDER BY tx DESC, id DESC LIMIT 1"
    with connection.cursor() as cursor:
        cursor.execute(query, [snapshot.text, *_given(account_id)])
        row = cursor.fetchone()
    return None if row is None else row[0]


def _given(account_id: int | None) -> list[int]:
    return [] if account_id is None else [account_id]


# The part of an order that its events carry.
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
# The event's data is JSON already, and goes into the message as it is.
_MESSAGES = f"""
SELECT e.account_id, e.tx::text, e.event_id, e.type, e.occurred_at, e.order_id, o.client_order_id, u.username, e.data::text,
       {", ".join(f"o.{name}" for name in _ORDER_FIELDS)}
FROM orders_orderevent e JOIN orders_order o ON o.id = e.order_id JOIN auth_user u ON u.id = e.account_id
WHERE e.id = ANY(%s)
ORDER BY e.id
"""  # noqa: S608 - only column names from the table above


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
        "order": render(zip(_ORDER_FIELDS, order, strict=True)),
    }
    return orjson.dumps(message, option=orjson.OPT_UTC_Z).decode()
