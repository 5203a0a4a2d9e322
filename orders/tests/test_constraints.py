"""Each invariant is broken with plain SQL, as a careless script would, and PostgreSQL refuses it by the constraint's name."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import CheckConstraint

from orders.models import Order, OrderEvent
from orders.states import ErrorCode, EventType, ExecutionStatus, OrderType, SafetyEventType, Side, Status

NOW = "2030-01-01T00:00:00Z"
LATER = "2030-01-01T00:15:00Z"
COMPLETED = {
    "status": "completed",
    "exchange_order_id": "X1",
    "placed_at": NOW,
    "execution_status": "new",
    "next_attempt_at": None,
}
FAILED = {"status": "failed", "error_code": "refused_by_exchange", "error_message": "no", "next_attempt_at": None}
FILLED = COMPLETED | {
    "execution_status": "filled",
    "filled_quantity": 100,
    "reported_quantity": 100,
    "filled_value": "1000",
    "average_price": "10",
}
LOST = {"discrepancy": "they do not have it", "look_up_at": NOW, "absent_since": NOW}
HELD = {"held_at": NOW, "next_attempt_at": None}

# Constraint name -> what to change in a valid row to break it.
VIOLATIONS: dict[str, list[dict[str, Any]]] = {
    "order_type_known": [{"type": "stop"}],
    "order_side_known": [{"side": "hold"}],
    "order_status_known": [{"status": "lost"}],
    "order_error_code_known": [FAILED | {"error_code": "bad_luck"}],
    "order_execution_status_known": [COMPLETED | {"execution_status": "stuck"}],
    "market_order_no_price": [{"limit_price": "1.00"}, {"type": "limit"}],
    "limit_price_positive": [{"type": "limit", "limit_price": "0"}, {"type": "limit", "limit_price": "-1"}],
    "quantity_positive": [{"quantity": 0}, {"quantity": -5}],
    "instrument_has_12_characters": [
        {"instrument": text} for text in ("NVDA_25", "AAPL 2025_03", "aapl_2025_03", "AAPL_2025_0x", "")
    ],
    "client_order_id_printable": [{"client_order_id": ""}, {"client_order_id": " a"}, {"client_order_id": "a\tb"}],
    "completed_has_exchange_id_and_time": [COMPLETED | {"exchange_order_id": None}, COMPLETED | {"placed_at": None}],
    "execution_status_exactly_when_completed": [{"execution_status": "new"}, COMPLETED | {"execution_status": None}],
    "failure_has_code_and_message": [FAILED | {"error_code": None}, FAILED | {"error_message": None, "status": "error"}],
    "settled_without_exchange_is_not_there": [
        FAILED | {"may_be_at_exchange": True, "sent_valid_until": NOW},
        {"status": "canceled", "next_attempt_at": None, "may_be_at_exchange": True, "sent_valid_until": NOW},
    ],
    "sent_valid_until_exactly_when_sent": [{"may_be_at_exchange": True}, {"sent_valid_until": NOW}],
    "pending_has_next_attempt": [{"next_attempt_at": None}],
    "held_only_before_a_send": [
        {"held_at": NOW},
        {"held_at": NOW, "next_attempt_at": None, "may_be_at_exchange": True, "sent_valid_until": NOW},
        {"held_at": NOW, "next_attempt_at": None, "cancel_requested_at": NOW},
        FAILED | {"held_at": NOW},
    ],
    "cancel_requested_has_next_attempt": [
        {"status": "canceled", "next_attempt_at": None, "cancel_requested_at": NOW},
        COMPLETED | {"cancel_requested_at": NOW},
    ],
    "give_up_not_after_expiry": [{"expires_at": NOW}],
    "attempt_count_not_negative": [{"attempt_count": -1}],
    "filled_quantity_within_quantity": [{"filled_quantity": 101}, {"filled_quantity": -1}],
    "reported_quantity_from_filled_to_quantity": [{"reported_quantity": 101}, FILLED | {"reported_quantity": 99}],
    "looked_up_quantity_within_filled_quantity": [{"looked_up_quantity": 1}, {"looked_up_quantity": -1}],
    "discrepancy_is_looked_up": [{"discrepancy": "odd"}],
    "absent_only_when_completed": [LOST, COMPLETED | LOST | {"discrepancy": None}],
    "filled_exactly_when_all_is_filled": [FILLED | {"filled_quantity": 99}, FILLED | {"execution_status": "new"}],
    "average_price_exactly_when_filled_at_all": [FILLED | {"average_price": None}, COMPLETED | {"filled_value": "1"}],
}


def insert(table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values()))


def valid_order(account: Any) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "account_id": account.pk,
        "client_order_id": uuid4().hex,
        "created_at": NOW,
        "updated_at": NOW,
        "type": "market",
        "side": "buy",
        "instrument": "AAPL_2025_03",
        "quantity": 100,
        "status": "pending",
        "attempt_count": 0,
        "next_attempt_at": NOW,
        "give_up_at": LATER,
        "may_be_at_exchange": False,
        "filled_quantity": 0,
        "filled_value": 0,
    }


def drop_all_checks_but(name: str) -> None:
    """A row may break several invariants at once, and each of them must refuse it by itself. Undone with the test."""
    others = [check.name for check in Order._meta.constraints if isinstance(check, CheckConstraint) and check.name != name]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE orders_order " + ", ".join(f"DROP CONSTRAINT {other}" for other in others))


LIMIT_ORDER = {"type": "limit", "limit_price": "250.50"}


@pytest.mark.parametrize("changes", [{}, COMPLETED, FAILED, FILLED, COMPLETED | LOST, HELD, LIMIT_ORDER])
def test_a_valid_row_is_taken(account: Any, changes: dict[str, Any]) -> None:
    insert("orders_order", valid_order(account) | changes)
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "changes"), [(name, changes) for name, broken in VIOLATIONS.items() for changes in broken], ids=str
)
def test_a_row_that_breaks_an_invariant_is_refused(account: Any, name: str, changes: dict[str, Any]) -> None:
    drop_all_checks_but(name)
    with pytest.raises(IntegrityError, match=f'"{name}"'), transaction.atomic():
        insert("orders_order", valid_order(account) | changes)
    assert Order.objects.count() == 0


def test_every_check_of_the_order_is_broken_above() -> None:
    checks = {constraint.name for constraint in Order._meta.constraints if isinstance(constraint, CheckConstraint)}
    assert checks == set(VIOLATIONS)


def test_a_client_order_id_is_unique_within_its_account(account: Any, django_user_model: Any) -> None:
    row = valid_order(account) | {"client_order_id": "c1"}
    insert("orders_order", row)
    insert("orders_order", row | {"id": uuid4(), "account_id": django_user_model.objects.create_user("bert").pk})
    with pytest.raises(IntegrityError, match='"one_order_per_client_order_id"'), transaction.atomic():
        insert("orders_order", row | {"id": uuid4()})


def test_an_order_is_placed_at_most_once_and_only_by_known_events(account: Any) -> None:
    row = valid_order(account)
    insert("orders_order", row)
    event = {"order_id": row["id"], "account_id": account.pk, "data": "{}", "occurred_at": NOW, "recorded_at": NOW}
    insert("orders_orderevent", event | {"event_id": "1", "type": "placed"})
    with pytest.raises(IntegrityError, match='"placed_at_most_once"'), transaction.atomic():
        insert("orders_orderevent", event | {"event_id": "2", "type": "placed"})
    with pytest.raises(IntegrityError, match="event_id"), transaction.atomic():
        insert("orders_orderevent", event | {"event_id": "1", "type": "filled"})
    with pytest.raises(IntegrityError, match='"order_event_type_known"'), transaction.atomic():
        insert("orders_orderevent", event | {"event_id": "3", "type": "vanished"})
    assert OrderEvent.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("constraint", "enum"),
    [
        ("order_type_known", OrderType),
        ("order_side_known", Side),
        ("order_status_known", Status),
        ("order_error_code_known", ErrorCode),
        ("order_execution_status_known", ExecutionStatus),
        ("order_event_type_known", EventType),
        ("safety_event_type_known", SafetyEventType),
    ],
)
def test_the_database_knows_exactly_the_values_of_the_enum(constraint: str, enum: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", [constraint])
        [definition] = cursor.fetchone()
    assert set(re.findall(r"'(\w+)'::", definition)) == set(enum.values)


@pytest.mark.django_db
def test_a_reader_can_tell_which_transactions_were_running_when_an_event_was_written(account: Any) -> None:
    row = valid_order(account)
    insert("orders_order", row)
    OrderEvent.objects.create(order_id=row["id"], account=account, type="accepted")
    event = OrderEvent.objects.get()
    assert 0 < event.tx_floor <= event.tx
