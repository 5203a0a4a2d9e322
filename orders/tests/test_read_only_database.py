"""What the exchange says while the database takes no changes is not lost, and nobody is blamed for that."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from exchange.gateway import Acknowledged, Found
from exchange.reports import ReportType
from infrastructure.database.errors import DatabaseUnavailable
from orders.executions.gap_recovery import Answer, apply_answers
from orders.executions.reports import apply_reports
from orders.models import DeadLetter, FeedPosition, Order
from orders.placement.attempts import Result, record
from orders.states import Status
from orders.tests.reporting import SESSION, report, three_reports
from testsupport.placement import POLICY, claim_one

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]


@contextmanager
def read_only() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")


def rows() -> Mapping[str, Any]:
    return {
        "orders": list(Order.objects.values().order_by("id")),
        "dead letters": list(DeadLetter.objects.values()),
        "positions": list(FeedPosition.objects.values()),
    }


def acknowledged() -> Result:
    return Result(claim_one(), Acknowledged("X1"), timezone.now(), took_s=0.1)


def test_reports_are_applied_later(accept: Accept) -> None:
    order = accept()
    # One that is refused by the database for itself, too, so that each is tried alone.
    reports = [*three_reports(order), report(accept(), 4, ReportType.FILLED, 100, "1e30")]
    before = rows()
    with read_only(), pytest.raises(DatabaseUnavailable):
        apply_reports(reports, SESSION, "feed", 4)
    assert rows() == before
    apply_reports(reports, SESSION, "feed", 4)
    order.refresh_from_db()
    assert order.filled_quantity == 100


def test_an_acknowledgement_is_recorded_later(accept: Accept) -> None:
    order = accept()
    results = [acknowledged()]
    before = rows()
    with read_only(), pytest.raises(DatabaseUnavailable):
        record(results, POLICY)
    assert rows() == before
    record(results, POLICY)
    order.refresh_from_db()
    assert (order.status, order.error_code) == (Status.COMPLETED, None)


def test_the_answer_to_a_look_up_is_applied_later(accept: Accept) -> None:
    order = accept()
    record([acknowledged()], POLICY)
    found = Found("X1", "partially_filled", 30, Decimal("10.00"), SESSION, 5)
    answers = {order.id: Answer(found, timezone.now())}
    before = rows()
    with read_only(), pytest.raises(DatabaseUnavailable):
        apply_answers(answers)
    assert rows() == before
    apply_answers(answers)
    order.refresh_from_db()
    assert (order.filled_quantity, order.discrepancy) == (30, None)
