"""What a look-up is told, held against what was reported: before it, after it and across it."""

import itertools
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from exchange.gateway import Contradiction, Found, LookUpOutcome, NotFound, TermsConflict, Unknown
from exchange.reports import ReportType
from orders.executions.gap_recovery import Answer, apply_answers
from orders.executions.reports import apply_reports
from orders.models import Order
from orders.states import ExecutionStatus, Status
from orders.tests.reporting import FILLED, SESSION, report, three_reports, totals
from testsupport.placement import history

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]
PARTIALLY_FILLED = ReportType.PARTIALLY_FILLED


def found(quantity: int, status: str = "partially_filled", price: str = "10.00", id: str = "X1") -> Found:
    return Found(id, status, quantity, Decimal(price) if quantity else None, SESSION, 1, raw=f"{status} {quantity}")


def answer(order: Order, outcome: LookUpOutcome, *, before: float = 0) -> int:
    """Apply what was answered, to a question asked so many seconds ago; returns how many orders differed."""
    return apply_answers({order.id: Answer(outcome, timezone.now() - timedelta(seconds=before))})


def is_settled(order: Order) -> bool:
    order.refresh_from_db()
    return order.discrepancy is None and order.look_up_at is None


def test_what_was_missed_is_taken_over_and_later_replays_do_not_count_again(accept: Accept) -> None:
    order = accept()
    new, partial, filled = three_reports(order)
    apply_reports([new], SESSION)
    assert answer(order, found(40)) == 1
    assert totals(order)[1:] == (ExecutionStatus.PARTIALLY_FILLED, 40, Decimal(400), Decimal(10))
    apply_reports([partial], SESSION)
    assert totals(order)[2] == 40, "the look-up counted it"
    apply_reports([filled], SESSION)
    assert totals(order) == FILLED
    assert history(order) == ["accepted", "placed", "reconciled", "partially_filled", "filled"]
    difference = order.events.get(type="reconciled").data
    assert (difference["before"]["filled_quantity"], difference["after"]["filled_quantity"]) == (0, 40)
    assert is_settled(order)


@pytest.mark.parametrize("order_of_things", list(itertools.permutations(["new", "partial", "filled", "look-up"])))
def test_a_look_up_counts_once_with_what_was_filled_after_it(accept: Accept, order_of_things: tuple[str, ...]) -> None:
    """The answer contains the partial fill, and was given before the last one."""
    order = accept()
    reports = dict(zip(["new", "partial", "filled"], three_reports(order), strict=True))
    for thing in order_of_things:
        if thing == "look-up":
            answer(order, found(40), before=60)
        else:
            apply_reports([reports[thing]], SESSION)
    assert totals(order) == FILLED
    assert order.discrepancy is None


def test_a_look_up_that_agrees_leaves_no_event_and_writes_nothing(accept: Accept) -> None:
    order = accept()
    apply_reports(three_reports(order)[:2], SESSION)
    order.refresh_from_db()
    assert answer(order, found(40)) == 0
    assert history(order) == ["accepted", "placed", "partially_filled"]
    assert Order.objects.get(id=order.id).updated_at == order.updated_at


@pytest.mark.parametrize("status", ["canceled", "expired", "rejected"])
def test_an_end_that_was_missed_is_taken_over(accept: Accept, status: str) -> None:
    order = accept()
    answer(order, found(40, status))
    assert totals(order)[:3] == (Status.COMPLETED, status, 40)


def test_a_lost_fill_of_an_order_that_has_ended_is_found(accept: Accept) -> None:
    order = accept()
    apply_reports([report(order, 1, ReportType.NEW), report(order, 3, ReportType.CANCELED, total=40)], SESSION)
    answer(order, found(40, "canceled"))
    assert totals(order)[1:3] == (ExecutionStatus.CANCELED, 40)
    assert is_settled(order)
    apply_reports([report(order, 2, PARTIALLY_FILLED, 40)], SESSION)
    assert totals(order)[1:3] == (ExecutionStatus.CANCELED, 40)


@pytest.mark.parametrize("session", ["s1", "s2"])
def test_a_fill_that_a_look_up_counted_is_history_in_whatever_session_it_comes(accept: Accept, session: str) -> None:
    order = accept()
    answer(order, found(15))
    fills = [(2, 10, 10), (3, 5, 15), (4, 2, 17)]
    apply_reports([report(order, number, PARTIALLY_FILLED, last, total=all) for number, last, all in fills], session)
    assert totals(order)[1:3] == (ExecutionStatus.PARTIALLY_FILLED, 17)
    assert is_settled(order)


def test_a_fill_across_what_a_look_up_counted_is_a_contradiction(accept: Accept) -> None:
    order = accept()
    answer(order, found(15))
    apply_reports([report(order, 2, PARTIALLY_FILLED, 10, total=20)], SESSION)
    assert totals(order)[2] == 15
    assert order.discrepancy == "it straddles the total of 15 units that a look-up counted"


def test_a_rounded_average_does_not_replace_an_exact_one(accept: Accept) -> None:
    order = accept()
    fills = [(1, 33, 33, "23.24", "23.24"), (2, 19, 52, "23.25", "23.24365385")]
    apply_reports([report(order, *fill(*one)[0], **fill(*one)[1]) for one in fills], SESSION)
    answer(order, found(52, price="23.24"))
    last = report(order, 3, ReportType.FILLED, 48, "23.19", total=100, average="23.2179")
    apply_reports([last], SESSION)
    assert totals(order)[2:] == (100, Decimal("2321.79"), Decimal("23.2179"))
    assert is_settled(order)


def fill(sequence: int, last: int, total: int, price: str, average: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (sequence, PARTIALLY_FILLED, last, price), {"total": total, "average": average}


def test_a_rounded_average_is_made_exact_when_the_fills_come_after_all(accept: Accept) -> None:
    order = accept(quantity=7)
    answer(order, found(3, price="10.33"))
    assert totals(order)[3:] == (Decimal("30.99"), Decimal("10.33"))
    last = report(order, 3, ReportType.FILLED, 4, "10.00", total=7, average="10.14")
    apply_reports([last], SESSION)
    assert totals(order)[2:4] == (7, Decimal("70.99"))
    replays = [((1, 1, 1, "10.00", "10.00")), ((2, 2, 3, "10.50", "10.33333333"))]
    apply_reports([report(order, *fill(*one)[0], **fill(*one)[1]) for one in replays], SESSION)
    assert totals(order)[2:] == (7, Decimal("71.00"), Decimal("10.14285714"))
    assert order.looked_up_quantity == 0


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (found(40), "looked up with 40 filled, but 100 were reported before"),
        (found(100, "filled", "99.00"), "looked up at an average of 99.00, but its fills average 10.60000000"),
        (found(100, "canceled", "10.60"), "looked up as canceled, but reported as filled before"),
        (found(20), "looked up with 20 filled, which is in the middle of a fill"),
        (found(100, "filled", "10.60", id="X2"), "looked up as X2, but acknowledged as X1"),
        (Contradiction("average_price is not above 0", "raw text"), "average_price is not above 0"),
        (TermsConflict("other terms: quantity", "raw text"), "other terms: quantity"),
    ],
)
def test_an_answer_that_contradicts_what_is_known_flags_its_order_and_is_kept(
    accept: Accept, outcome: Found | Contradiction | TermsConflict, reason: str
) -> None:
    order = accept()
    apply_reports(three_reports(order), SESSION)
    for _ in range(2):
        answer(order, outcome)
    assert totals(order) == FILLED, "what was filled is never taken back"
    assert order.discrepancy == reason
    assert order.look_up_at is not None
    assert order.look_up_at > timezone.now(), "it is looked up again, and not all the time"
    kept = order.dead_letters.get()
    assert (kept.reason, kept.raw) == (reason, outcome.raw)
    answer(order, found(100, "filled", "10.60"))
    assert is_settled(order)
    assert order.dead_letters.count() == 1, "a person may read later what was said"


@pytest.mark.parametrize("outcome", [found(40), found(0, "new")])
def test_an_answer_that_may_be_older_than_what_was_reported_contradicts_nothing(accept: Accept, outcome: Found) -> None:
    order = accept()
    apply_reports([*three_reports(order)[:2], report(order, 3, ReportType.CANCELED, total=40)], SESSION)
    answer(order, outcome, before=60)
    assert totals(order)[1:3] == (ExecutionStatus.CANCELED, 40)
    assert is_settled(order)


def test_an_older_answer_settles_no_contradiction(accept: Accept) -> None:
    order = accept()
    apply_reports([report(order, number, PARTIALLY_FILLED, 40) for number in (1, 2)], SESSION)
    answer(order, found(40), before=60)
    order.refresh_from_db()
    assert order.discrepancy is not None
    answer(order, found(40))
    assert is_settled(order)


def test_an_order_that_is_not_there_any_more_is_flagged_until_it_is(accept: Accept) -> None:
    order = accept()
    apply_reports(three_reports(order)[:1], SESSION)
    answer(order, NotFound())
    order.refresh_from_db()
    first = order.absent_since
    assert first is not None
    answer(order, NotFound())
    order.refresh_from_db()
    assert (order.absent_since, order.discrepancy) == (first, "the exchange does not know this order, which it acknowledged")
    answer(order, found(0, "new"))
    assert is_settled(order)
    assert order.absent_since is None


def test_of_an_order_that_was_never_acknowledged_not_found_is_the_workers_business(accept: Accept) -> None:
    order = accept()
    Order.objects.update(look_up_at=timezone.now())
    answer(order, NotFound())
    assert is_settled(order)
    assert order.status == Status.PENDING


def test_a_look_up_that_was_not_answered_is_due_again(accept: Accept) -> None:
    order = accept()
    apply_reports(three_reports(order)[:1], SESSION)
    before = timezone.now()
    answer(order, Unknown("timeout"))
    order.refresh_from_db()
    assert order.look_up_at is not None
    assert order.look_up_at > before
    assert order.discrepancy is None


def test_an_answer_that_cannot_be_stored_does_not_keep_the_others_from_it(accept: Accept) -> None:
    first, second = accept(), accept()
    now = timezone.now()
    impossible = found(0, "new", id="X" * 100)
    assert apply_answers({first.id: Answer(impossible, now), second.id: Answer(found(40), now)}) == 1
    assert (totals(first)[0], totals(second)[2]) == (Status.PENDING, 40)
    assert first.discrepancy is not None
    assert first.discrepancy.startswith("a look-up's answer cannot be stored")


def test_a_cancel_whose_result_was_missed_is_carried_again(accept: Accept) -> None:
    order = accept()
    apply_reports([report(order, 1, ReportType.NEW)], SESSION)
    Order.objects.update(execution_status="pending_cancel")
    answer(order, found(0, "new"))
    order.refresh_from_db()
    assert order.execution_status == ExecutionStatus.PENDING_CANCEL
    assert order.cancel_requested_at is not None
    assert order.next_attempt_at == order.cancel_requested_at
    answer(order, found(40))
    assert totals(order)[1:3] == (ExecutionStatus.PENDING_CANCEL, 40)
