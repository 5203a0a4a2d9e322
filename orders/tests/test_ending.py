"""An order that the exchange acknowledged and does not know any more: found by its cancel, ended by a person."""

from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from exchange.gateway import Found, NotFound
from exchange.reports import ReportType
from orders.executions.gap_recovery import Answer, apply_answers
from orders.executions.reports import apply_reports
from orders.models import OPEN, Order
from orders.placement.attempts import record
from orders.placement.cancel import cancel_order
from orders.placement.manual_end import NotProvedAbsent, end_absent_order
from orders.tests.reporting import SESSION, report, totals
from testsupport.placement import POLICY, claim_one, execute_at, history
from testsupport.simulator_process import SimulatorProcess

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]


@pytest.fixture
def absent(accept: Accept) -> Order:
    order = accept()
    apply_reports([report(order, 1, ReportType.PARTIALLY_FILLED, 40)], SESSION)
    apply_answers({order.id: Answer(NotFound(), timezone.now())})
    order.refresh_from_db()
    return order


def test_a_cancel_that_the_exchange_answers_with_404_has_the_order_looked_up(accept: Accept, simulator: SimulatorProcess) -> None:
    order = accept(instrument="NEVERFILL___")
    apply_reports([report(order, 1, ReportType.NEW)], SESSION)
    cancel_order(order.id, requested_by="anna")
    # An exchange with an empty book.
    record([execute_at(claim_one(), simulator.url)], POLICY)
    order.refresh_from_db()
    assert history(order)[-1] == "cancel_rejected"
    assert order.look_up_at is not None, "the only thing that can tell what became of it"


def test_an_absent_order_is_flagged_and_can_be_ended_with_a_reason(absent: Order) -> None:
    assert absent.absent_since is not None
    end_absent_order(absent.id, "dora", "their support confirmed it by phone")
    assert totals(absent)[1:3] == ("canceled", 40)
    assert Order.objects.filter(id=absent.id, discrepancy=None, look_up_at=None, absent_since=None).exists()
    ended = absent.events.get(type="canceled")
    assert (ended.data["by"], ended.data["reason"]) == ("dora", "their support confirmed it by phone")
    assert "absent_since" in ended.data
    assert not Order.objects.filter(OPEN, id=absent.id).exists(), "it counts against no limit any more"
    with pytest.raises(NotProvedAbsent):
        end_absent_order(absent.id, "dora", "once more")


def test_a_fill_that_is_reported_after_all_counts(absent: Order) -> None:
    end_absent_order(absent.id, "dora", "gone")
    apply_reports([report(absent, 2, ReportType.FILLED, 60, total=100)], SESSION)
    assert totals(absent)[1:3] == ("filled", 100)


@pytest.mark.parametrize("proof", ["report", "look-up"])
def test_an_order_that_shows_itself_again_cannot_be_ended(absent: Order, proof: str) -> None:
    if proof == "report":
        apply_reports([report(absent, 2, ReportType.PARTIALLY_FILLED, 10, total=50)], SESSION)
    else:
        found = Found("X1", "partially_filled", 40, absent.average_price, SESSION, 2)
        apply_answers({absent.id: Answer(found, timezone.now())})
    with pytest.raises(NotProvedAbsent, match="partially_filled, and no look-up has shown"):
        end_absent_order(absent.id, "dora", "gone")


def test_an_open_order_that_the_exchange_has_cannot_be_ended(accept: Accept) -> None:
    order = accept()
    for reports in ([], [report(order, 1, ReportType.NEW)]):
        apply_reports(reports, SESSION)
        with pytest.raises(NotProvedAbsent):
            end_absent_order(order.id, "dora", "gone")


def test_the_desk_asks_for_a_permission_and_a_reason(absent: Order, staff: Callable[..., Client], viewer: Client) -> None:
    page, end = f"/admin/orders/order/{absent.id}/change/", f"/admin/orders/order/{absent.id}/end/"
    assert end not in viewer.get(page).content.decode()
    assert viewer.post(end, {"reason": "gone"}).status_code == 403
    operator = staff("view_order", "end_order")
    shown = operator.get(page).content.decode()
    assert end in shown
    assert "The exchange contradicts itself" in shown
    assert "does not know it" in operator.get(end).content.decode()
    assert "This field is required" in operator.post(end, {"reason": " "}).content.decode()
    assert totals(absent)[1] == "partially_filled"
    assert operator.post(end, {"reason": "gone"}).status_code == 302
    assert totals(absent)[1] == "canceled"
    assert absent.events.get(type="canceled").data["by"] == "dora"
    assert "no look-up has shown that the exchange lacks it" in operator.post(end, {"reason": "gone"}).content.decode()


def test_the_command_does_the_same(absent: Order, accept: Accept) -> None:
    out = StringIO()
    call_command("end_order", str(absent.id), "--reason", "gone", stdout=out)
    assert out.getvalue() == f"Order {absent.id} is canceled, with 40 filled.\n"
    assert "(manage.py end_order)" in absent.events.get(type="canceled").data["by"]
    with pytest.raises(CommandError, match="no look-up has shown"):
        call_command("end_order", str(accept().id), "--reason", "gone")
    with pytest.raises(CommandError, match="There is no order"):
        call_command("end_order", "01890000-0000-7000-8000-000000000000", "--reason", "gone")
    with pytest.raises(CommandError, match="reason"):
        call_command("end_order", str(absent.id), "--reason", " ")
