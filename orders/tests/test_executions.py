"""Reports of the exchange, applied in every order and number."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from django.core.management import call_command

from exchange.reports import BadReport, ReportType
from orders.executions.reports import apply_reports
from orders.models import DeadLetter, FeedPosition, Order, OrderEvent
from orders.states import ExecutionStatus, Status
from orders.tests.reporting import FILLED, SESSION, report, three_reports, totals
from testsupport.placement import history

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]


def test_fills_add_up_exactly(accept: Accept) -> None:
    order = accept()
    apply_reports(three_reports(order), SESSION)
    assert totals(order) == FILLED
    assert history(order) == ["accepted", "placed", "partially_filled", "filled"]
    assert order.exchange_order_id == "X1"
    last = order.events.get(type="filled")
    assert last.event_id == "s1:e3"
    assert (last.data["last_quantity"], last.data["last_price"]) == (60, "11.00")


def test_the_average_is_rounded_to_8_places_and_the_value_is_not(accept: Accept) -> None:
    order = accept(quantity=3)
    apply_reports([report(order, 1, ReportType.PARTIALLY_FILLED, 1, "10.00")], SESSION)
    apply_reports([report(order, 2, ReportType.FILLED, 2, "10.01", total=3)], SESSION)
    assert totals(order)[3:] == (Decimal("30.02"), Decimal("10.00666667"))


@pytest.mark.parametrize("sequence", list(itertools.permutations(range(3))), ids=str)
def test_the_order_of_the_reports_does_not_matter(accept: Accept, sequence: tuple[int, ...]) -> None:
    order = accept()
    reports = three_reports(order)
    for index in sequence:
        apply_reports([reports[index]], SESSION)
    assert totals(order) == FILLED
    assert sorted(history(order)) == ["accepted", "filled", "partially_filled", "placed"]


def test_a_repeated_report_counts_once(accept: Accept) -> None:
    order = accept()
    reports = three_reports(order)
    apply_reports(reports + reports, SESSION)
    apply_reports(reports, SESSION)
    assert totals(order) == FILLED
    assert OrderEvent.objects.count() == 4
    assert DeadLetter.objects.count() == 0


def test_a_report_with_the_id_of_one_about_another_order_is_a_dead_letter(accept: Accept) -> None:
    order, other = accept(), accept()
    first, second = (report(one, 5, ReportType.PARTIALLY_FILLED, 40) for one in (order, other))
    apply_reports([first], SESSION)
    apply_reports([replace(second, raw="second")], SESSION)
    assert (totals(order)[2], totals(other)[:3]) == (40, (Status.PENDING, None, 0))
    kept = DeadLetter.objects.get()
    assert (kept.raw, kept.reason) == ("second", "its execution_id belongs to a report about another order")
    third = accept()
    apply_reports(
        [report(order, 6, ReportType.PARTIALLY_FILLED, 7, total=47), report(third, 6, ReportType.PARTIALLY_FILLED, 7)], SESSION
    )
    assert (totals(order)[2], totals(third)[2], DeadLetter.objects.count()) == (47, 0, 2)


def test_a_report_before_the_acknowledgement_completes_the_order(accept: Accept) -> None:
    order = accept()
    apply_reports([report(order, 1, ReportType.PARTIALLY_FILLED, 40)], SESSION)
    assert totals(order)[:3] == (Status.COMPLETED, ExecutionStatus.PARTIALLY_FILLED, 40)
    assert order.next_attempt_at is None, "nothing is left to place"


@pytest.mark.parametrize("end", [ReportType.CANCELED, ReportType.EXPIRED, ReportType.REJECTED])
def test_a_terminal_state_is_not_left_but_a_late_fill_counts(accept: Accept, end: ReportType) -> None:
    order = accept()
    apply_reports([report(order, 1, end, total=40), report(order, 2, ReportType.PARTIALLY_FILLED, 40)], SESSION)
    assert totals(order)[1:3] == (end.value, 40)
    apply_reports([report(order, 3, ReportType.NEW), report(order, 4, ReportType.CANCEL_REJECTED)], SESSION)
    assert totals(order)[1:3] == (end.value, 40)
    assert Order.objects.filter(discrepancy=None).exists()
    apply_reports([report(order, 5, ReportType.FILLED, 60, total=100)], SESSION)
    assert totals(order)[1:3] == (ExecutionStatus.FILLED, 100)
    assert order.discrepancy == "it ended with 40 filled, but was later filled up to 100"
    apply_reports([report(order, 6, ReportType.CANCELED)], SESSION)
    assert totals(order)[1] == ExecutionStatus.FILLED


def test_more_than_was_ordered_is_never_filled(accept: Accept) -> None:
    order = accept()
    apply_reports([report(order, 1, ReportType.PARTIALLY_FILLED, 60)], SESSION)
    apply_reports([report(order, 2, ReportType.PARTIALLY_FILLED, 41, total=101)], SESSION)
    assert totals(order)[2] == 60
    assert order.reported_quantity == 60, "an impossible total is not kept"
    assert DeadLetter.objects.get().reason == "more would be filled than was ordered"


def test_one_bad_report_does_not_keep_the_others_from_being_applied(accept: Accept) -> None:
    order = accept()
    new, partial, filled = three_reports(order)
    stranger = replace(new, client_order_id="01890000-0000-7000-8000-000000000000", sequence=7, execution_id="e7")
    no_id = replace(new, client_order_id="not a uuid", sequence=8, execution_id="e8")
    garbage = BadReport("{nonsense", "not JSON", None)
    apply_reports([garbage, new, stranger, partial, no_id, filled], SESSION, "exchange", 8)
    assert totals(order) == FILLED
    kept = {(aside.raw, aside.reason) for aside in DeadLetter.objects.all()}
    unknown = "no order of ours has this client_order_id"
    assert kept == {("{nonsense", "not JSON"), ('{"kept": true}', unknown)}
    assert DeadLetter.objects.count() == 3
    assert FeedPosition.objects.get().sequence == 8


def test_a_report_that_the_database_refuses_is_a_dead_letter_and_the_rest_applied(accept: Accept) -> None:
    first, second = accept(), accept()
    impossible = replace(report(first, 1, ReportType.NEW), exchange_order_id="X" * 100)
    apply_reports([impossible, report(second, 2, ReportType.NEW)], SESSION, "exchange", 2)
    assert [totals(order)[0] for order in (first, second)] == [Status.PENDING, Status.COMPLETED]
    assert DeadLetter.objects.get().reason.startswith("cannot be stored")
    assert FeedPosition.objects.get().sequence == 2


def test_a_report_that_is_a_dead_letter_is_applied_when_its_order_is_there(
    accept: Accept, capsys: pytest.CaptureFixture[str]
) -> None:
    order = accept()
    document = {"sequence": 5, "execution_id": "e5", "client_order_id": str(order.id), "exchange_order_id": "X1"}
    document |= {"account": str(order.account_id), "type": "new", "filled_quantity": 0, "occurred_at": "2030-01-01T00:00:00Z"}
    raw = json.dumps(document | dict.fromkeys(["last_quantity", "last_price", "average_price", "reason"]))
    DeadLetter.objects.create(raw=raw, reason="unknown", session_id=SESSION, sequence=5)
    DeadLetter.objects.create(raw="{nonsense", reason="?", session_id=SESSION, sequence=6)
    call_command("replay_reports")
    assert capsys.readouterr().out == "1 report(s) applied, 1 left.\n"
    assert totals(order)[0] == Status.COMPLETED
    call_command("replay_reports")
    assert capsys.readouterr().out == "0 report(s) applied, 1 left.\n"
    assert history(order) == ["accepted", "placed"]
