"""Look-ups and reports that cross each other: on Kafka neither waits for the other."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from exchange.reports import ReportType, Session
from orders.executions import apply_reports
from orders.feeds import last_event, register_session
from orders.models import Order
from orders.reconciling import apply_found, begin_anew, ended_orders, open_orders
from orders.states import ExecutionStatus
from orders.tests.test_executions import FILLED, SESSION, found, report, three_reports, totals

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]


@pytest.mark.parametrize("order_of_things", list(itertools.permutations(["new", "partial", "filled", "look-up"])))
def test_a_look_up_counts_once_with_what_was_filled_after_it(accept: Accept, order_of_things: tuple[str, ...]) -> None:
    """The answer contains the partial fill, and was given before the last one."""
    order = accept()
    register_session(SESSION)
    reports = dict(zip(["new", "partial", "filled"], three_reports(order), strict=True))
    for thing in order_of_things:
        if thing == "look-up":
            apply_found({order.id: found(40, 2, price="10.00")})
        else:
            apply_reports([reports[thing]], SESSION)
    assert totals(order) == FILLED


@pytest.mark.parametrize("late_first", [True, False])
def test_a_look_up_contains_what_earlier_sessions_reported(accept: Accept, late_first: bool) -> None:
    order = accept()
    for session in ("s1", "s2", "s3"):
        register_session(session)
    late = [report(order, 7, ReportType.PARTIALLY_FILLED, 40)]
    newer = replace(report(order, 1, ReportType.PARTIALLY_FILLED, 10, total=50), execution_id="n1")
    apply_reports([newer], "s3")
    if late_first:
        apply_reports(late, "s1")
    apply_found({order.id: replace(found(40, 3, price="10.00"), session_id="s2")})
    if not late_first:
        apply_reports(late, "s1")
    assert totals(order)[1:] == (ExecutionStatus.PARTIALLY_FILLED, 50, Decimal(500), Decimal(10))


def test_sessions_whose_ids_begin_alike_are_told_apart(accept: Accept) -> None:
    order = accept()
    register_session("s1")
    apply_reports([report(order, 9, ReportType.PARTIALLY_FILLED, 40)], "s10")
    apply_found({order.id: found(40, 2, price="10.00")})
    assert totals(order)[2] == 40


def test_an_order_that_ended_before_its_lost_fill_was_looked_up_is_looked_up_all_the_same(accept: Accept) -> None:
    earlier, ended, untouched = accept(), accept(), accept()
    apply_reports([report(earlier, 1, ReportType.NEW), report(earlier, 2, ReportType.CANCELED)], SESSION)
    before = last_event()
    # A fill of 40 was lost with the last session, and the report of the end is faster than the look-up.
    apply_reports([report(ended, 3, ReportType.CANCELED)], SESSION)
    apply_reports([report(untouched, 4, ReportType.NEW)], SESSION)
    assert ended.id not in set(open_orders().values_list("id", flat=True))
    assert set(ended_orders(before).values_list("id", flat=True)) == {ended.id}
    apply_found({ended.id: found(40, 3, "canceled")})
    assert totals(ended)[1:3] == (ExecutionStatus.CANCELED, 40)
    apply_reports([report(ended, 2, ReportType.PARTIALLY_FILLED, 40)], SESSION)
    assert totals(ended)[1:3] == (ExecutionStatus.CANCELED, 40)


@pytest.mark.parametrize(("session_id", "last_sequence"), [(SESSION, 2), ("s0", 9)])
def test_an_earlier_answer_that_comes_late_changes_nothing(accept: Accept, session_id: str, last_sequence: int) -> None:
    """Two look up at the same time: the consumer behind a gap, and `manage.py reconcile`."""
    order = accept()
    register_session("s0")
    register_session(SESSION)
    apply_found({order.id: found(15, 3, price="10.00")})
    apply_found({order.id: replace(found(10, last_sequence, price="10.00"), session_id=session_id)})
    fills = [(2, 10, 10), (3, 5, 15), (4, 2, 17)]
    apply_reports([report(order, number, ReportType.PARTIALLY_FILLED, last, total=all) for number, last, all in fills], SESSION)
    assert totals(order)[1:3] == (ExecutionStatus.PARTIALLY_FILLED, 17)


def test_reports_with_the_numbers_of_those_that_the_exchange_has_lost_count(accept: Accept) -> None:
    order = accept()
    register_session(SESSION)
    apply_found({order.id: found(15, 12, price="10.00")})
    begin_anew(Session(SESSION, first_sequence=1, last_sequence=10))
    apply_found({order.id: found(15, 10, price="10.00")})
    apply_reports([report(order, 11, ReportType.PARTIALLY_FILLED, 5, total=20)], SESSION)
    assert totals(order)[2] == 20
