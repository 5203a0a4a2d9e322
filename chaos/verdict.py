"""Compares the exchange's book, the orders, the events and what a client saw."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from testsupport.system import WATCHED, System

# A total that came from a look-up has a `reconciled` event instead of some of its fills.
FILLS_THAT_DO_NOT_ADD_UP = """
SELECT o.id FROM orders_order o JOIN orders_orderevent e ON e.order_id = o.id
WHERE o.looked_up_quantity = 0 AND o.status = 'completed'
GROUP BY o.id HAVING sum(coalesce((e.data ->> 'last_quantity')::int, 0)) <> o.filled_quantity"""
# In the exchange's terms: accounts by their ids, times in Unix seconds.
CONFIRMED_HALTS = """
SELECT account_id::text AS account, instrument,
    extract(epoch FROM confirmed_at)::float AS confirmed_at, extract(epoch FROM ended_at)::float AS ended_at
FROM orders_halt WHERE confirmed_at IS NOT NULL"""
# The orders about which a contradiction was kept.
FLAGGED = "SELECT DISTINCT order_id FROM orders_deadletter WHERE order_id IS NOT NULL"
TO_BE_SEEN = """
SELECT event_id FROM orders_orderevent JOIN auth_user ON auth_user.id = account_id WHERE username = '{account}'"""
# These say how much a trial was worth.
COUNTS = ("accepted", "lied_about", "halts")
OPEN_AT_EXCHANGE = ("new", "partially_filled")


@dataclass
class Verdict:
    """All counts after the first three must be 0.

    They are: orders lost, sent twice, stuck, different from the book, or in the book although a halt covered them; orders
    that were lied about but not flagged, or the other way round; and events that the client never saw.
    """

    accepted: int = 0
    lied_about: int = 0
    halts: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    differing: int = 0
    leaked: int = 0
    misflagged: int = 0
    unseen: int = 0

    @property
    def is_clean(self) -> bool:
        return not any(getattr(self, field.name) for field in fields(self) if field.name not in COUNTS)

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))


def judge(system: System, answered: Iterable[str]) -> Verdict:
    """Judge a system at rest. `answered` are the client order ids that were answered with 200 or 202."""
    orders = system.query("SELECT * FROM orders_order")
    book = system.book()
    accepted = set(answered)
    placed = Counter(row["order_id"] for row in system.query("SELECT order_id FROM orders_orderevent WHERE type = 'placed'"))
    halts = system.query(CONFIRMED_HALTS)
    completed = {str(order["id"]): order for order in orders if order["status"] == "completed"}
    return Verdict(
        accepted=len(accepted),
        lied_about=sum(is_lied_about(theirs) for theirs in book.values()),
        halts=len(halts),
        lost=len(accepted - {order["client_order_id"] for order in orders})
        + len(completed.keys() - book.keys())
        + sum(is_failed_for_nothing(order) for order in orders),
        doubled=sum(theirs["times_received"] > 1 for theirs in book.values())
        + sum(count > 1 for count in placed.values())
        + len(book.keys() - {str(order["id"]) for order in orders}),
        stuck=sum(is_stuck(order) for order in orders),
        differing=sum(differs(completed.get(id), theirs) for id, theirs in book.items())
        + len(system.query(FILLS_THAT_DO_NOT_ADD_UP)),
        leaked=sum(is_leaked(theirs, halts) for theirs in book.values()),
        misflagged=len(unflagged(system)) + len(flagged_for_nothing(system)),
        unseen=len(unseen_events(system)),
    )


def unseen_events(system: System) -> set[str]:
    """Ids of events of the watched account that the client was not told of."""
    return {row["event_id"] for row in system.query(TO_BE_SEEN.format(account=WATCHED))} - set(system.seen_event_ids())


def unflagged(system: System) -> set[str]:
    """Ids of orders that a report lied about but that were not flagged. A look-up's answer does not count: it may be lost."""
    return {id for id, theirs in system.book().items() if theirs["report_lies"]} - flagged(system)


def flagged_for_nothing(system: System) -> set[str]:
    return flagged(system) - {id for id, theirs in system.book().items() if is_lied_about(theirs)}


def flagged(system: System) -> set[str]:
    return {str(row["order_id"]) for row in system.query(FLAGGED)}


def is_lied_about(theirs: dict[str, Any]) -> bool:
    return bool(theirs["report_lies"] or theirs["look_up_lies"])


def is_leaked(theirs: dict[str, Any], halts: Iterable[dict[str, Any]]) -> bool:
    """Whether the exchange received the order while a halt that covers it was confirmed and had not ended."""
    return any(
        halt["account"] in (None, theirs["account"])
        and halt["instrument"] in (None, theirs["instrument"])
        and halt["confirmed_at"] < theirs["received_at"] < (halt["ended_at"] or math.inf)
        for halt in halts
    )


def is_failed_for_nothing(order: dict[str, Any]) -> bool:
    """Whether the order failed without reason: in so short a time only the exchange's refusal is one."""
    return bool(order["status"] == "failed" and order["error_code"] != "refused_by_exchange")


def is_stuck(order: dict[str, Any]) -> bool:
    """Whether the order still has something due, or a discrepancy, or an unknown outcome.

    A lie changes nothing at the exchange: once it tells the truth again, no contradiction may remain.
    """
    is_unsettled = any(order[name] is not None for name in ("next_attempt_at", "look_up_at", "discrepancy"))
    return is_unsettled or order["status"] in {"pending", "error"}


def differs(ours: dict[str, Any] | None, theirs: dict[str, Any]) -> bool:
    if ours is None:
        return True
    price = theirs["average_price"] and Decimal(theirs["average_price"])
    state = ours["execution_status"], ours["filled_quantity"], ours["average_price"]
    if theirs["is_cancel_requested"] and theirs["status"] in OPEN_AT_EXCHANGE:
        # The result of the cancel may come at any moment.
        return state[1:] != (theirs["filled_quantity"], price)
    return state != (theirs["status"], theirs["filled_quantity"], price)
