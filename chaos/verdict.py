"""Holding the exchange's book, the orders, the events and what a client saw against each other."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from lemon_market.tests.system import System

# A total that came from a look-up has a `reconciled` event instead of some of its fills.
FILLS_THAT_DO_NOT_ADD_UP = """
SELECT o.id FROM orders_order o JOIN orders_orderevent e ON e.order_id = o.id
WHERE o.looked_up_quantity = 0 AND o.status = 'completed'
GROUP BY o.id HAVING sum(coalesce((e.data ->> 'last_quantity')::int, 0)) <> o.filled_quantity"""
OPEN_AT_EXCHANGE = ("new", "partially_filled")


@dataclass
class Verdict:
    """All but `accepted` must be 0: orders lost, sent twice, left behind, or different from the book; events never told."""

    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    differing: int = 0
    unseen: int = 0

    @property
    def is_clean(self) -> bool:
        return not any(getattr(self, field.name) for field in fields(self) if field.name != "accepted")

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))


def judge(system: System, answered: Iterable[str]) -> Verdict:
    """Of a system that has come to rest. `answered` are the client order ids that were answered with 200 or 202."""
    orders = system.query("SELECT * FROM orders_order")
    book = system.book()
    accepted = set(answered)
    placed = Counter(row["order_id"] for row in system.query("SELECT order_id FROM orders_orderevent WHERE type = 'placed'"))
    completed = {str(order["id"]): order for order in orders if order["status"] == "completed"}
    return Verdict(
        accepted=len(accepted),
        lost=len(accepted - {order["client_order_id"] for order in orders})
        + len(completed.keys() - book.keys())
        + sum(is_failed_for_nothing(order) for order in orders),
        doubled=sum(theirs["times_received"] > 1 for theirs in book.values())
        + sum(count > 1 for count in placed.values())
        + len(book.keys() - {str(order["id"]) for order in orders}),
        stuck=sum(is_stuck(order) for order in orders),
        differing=sum(differs(completed.get(id), theirs) for id, theirs in book.items())
        + len(system.query(FILLS_THAT_DO_NOT_ADD_UP)),
        unseen=len(unseen_events(system)),
    )


def unseen_events(system: System) -> set[str]:
    """Ids of events that the client has not been told of."""
    return {row["event_id"] for row in system.query("SELECT event_id FROM orders_orderevent")} - set(system.seen_event_ids())


def is_failed_for_nothing(order: dict[str, Any]) -> bool:
    """In so short a time only the exchange's refusal is a reason."""
    return bool(order["status"] == "failed" and order["error_code"] != "refused_by_exchange")


def is_stuck(order: dict[str, Any]) -> bool:
    """Whether something is still to be done, or nobody knows what became of it."""
    return order["next_attempt_at"] is not None or order["status"] in {"pending", "error"}


def differs(ours: dict[str, Any] | None, theirs: dict[str, Any]) -> bool:
    if ours is None:
        return True
    price = theirs["average_price"] and Decimal(theirs["average_price"])
    state = ours["execution_status"], ours["filled_quantity"], ours["average_price"]
    if theirs["is_cancel_requested"] and theirs["status"] in OPEN_AT_EXCHANGE:
        # Its result comes at any moment.
        return state[1:] != (theirs["filled_quantity"], price)
    return state != (theirs["status"], theirs["filled_quantity"], price)
