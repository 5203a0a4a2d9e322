"""Which history goes, and which stays whatever its age."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from exchange.reports import ReportType
from orders.api.refusals import kept_refusals
from orders.events.stream import current_snapshot, position_after
from orders.executions.reports import apply_reports
from orders.models import DeadLetter, Order, OrderEvent, RelayPosition, SafetyEvent
from orders.operations.pruning import prune_page
from orders.order_entry.service import NewOrder, accept_orders
from orders.order_ids import first_id_at
from orders.risk.limits import change_limits
from orders.risk.switches import halt_trading
from orders.states import EventType, ExecutionStatus, Status
from orders.tests.reporting import SESSION, report, totals

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]
LONG_AGO = timedelta(days=100)
ENDED = {"exchange_order_id": "X", "status": Status.COMPLETED, "next_attempt_at": None, "placed_at": timezone.now()}


@pytest.fixture
def old(accept: Accept) -> Callable[..., Order]:
    """Accepts an order that is 100 days old, with any of its columns changed."""
    numbers = iter(range(1, 1000))

    def accept_old(**columns: Any) -> Order:
        made = accept()
        accepted = made.events.get()
        long_ago = timezone.now() - LONG_AGO
        first = first_id_at(long_ago)
        order = Order.objects.get(id=made.id)
        order.pk = type(first)(int=first.int + next(numbers))
        order.client_order_id = str(order.pk)
        for name, value in columns.items():
            setattr(order, name, value)
        order.save(force_insert=True)
        OrderEvent.objects.filter(pk=accepted.pk).update(order=order, recorded_at=long_ago)
        made.delete()
        return order

    return accept_old


def prune(**options: Any) -> None:
    call_command("prune_events", days=30, **options)


def test_the_history_of_settled_orders_goes_and_the_orders_stay(old: Callable[..., Order]) -> None:
    settled = [
        old(**ENDED, execution_status=ExecutionStatus.CANCELED),
        old(status=Status.CANCELED, next_attempt_at=None),
        old(status=Status.FAILED, next_attempt_at=None, error_code="refused_by_exchange", error_message="no"),
    ]
    prune()
    prune()
    assert not OrderEvent.objects.exists()
    assert Order.objects.count() == len(settled)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {**ENDED, "execution_status": ExecutionStatus.NEW},
        {"status": Status.ERROR, "error_code": "outcome_unknown", "error_message": "?"},
    ],
    ids=["pending", "open at the exchange", "in error"],
)
def test_the_history_of_an_order_that_is_not_settled_stays(old: Callable[..., Order], columns: dict[str, Any]) -> None:
    order = old(**columns)
    prune()
    assert order.events.exists()


def test_a_history_with_one_late_event_stays_whole(old: Callable[..., Order]) -> None:
    order = old(**ENDED, execution_status=ExecutionStatus.CANCELED)
    OrderEvent.objects.create(order=order, account=order.account, type=EventType.CANCELED)
    prune()
    assert order.events.count() == 2


def test_what_the_relay_has_not_published_stays(old: Callable[..., Order]) -> None:
    RelayPosition.objects.create(relay="order_updates", snapshot=current_snapshot().text)
    order = old(**ENDED, execution_status=ExecutionStatus.CANCELED)
    prune()
    assert order.events.exists()
    RelayPosition.objects.update(snapshot=current_snapshot().text)
    prune()
    assert not order.events.exists()


def test_a_report_that_comes_again_when_its_event_is_gone_counts_once(old: Callable[..., Order]) -> None:
    """As when the feed is followed by the other transport for the first time."""
    order = old()
    reports = [
        report(order, 1, ReportType.NEW),
        report(order, 2, ReportType.PARTIALLY_FILLED, 30),
        report(order, 3, ReportType.CANCELED, total=30),
    ]
    apply_reports(reports, SESSION)
    OrderEvent.objects.update(recorded_at=timezone.now() - LONG_AGO)
    prune()
    apply_reports(reports, SESSION)
    assert totals(order)[1:3] == (ExecutionStatus.CANCELED, 30)
    assert not OrderEvent.objects.exists()
    assert not DeadLetter.objects.exists()


def test_the_history_of_an_order_that_limits_refused_stays(account: User) -> None:
    """A repeat is answered from it, whatever the limits are then."""
    change_limits(account, "bert", "for the test", max_quantity=10)
    new = NewOrder("market", "buy", "AAPL_2025_03", 100)
    [refused] = accept_orders(account.pk, [new], keep_refused=True).orders
    long_ago = timezone.now() - LONG_AGO
    OrderEvent.objects.filter(order=refused).update(recorded_at=long_ago)
    assert prune_page([refused.id], timezone.now(), None) == 0
    assert kept_refusals([refused])["0"]["code"] == "max_quantity"


def test_what_is_removed_is_archived_first(old: Callable[..., Order], tmp_path: Path) -> None:
    order = old(**ENDED, execution_status=ExecutionStatus.CANCELED)
    removed = order.events.get()
    prune(archive=tmp_path / "events")
    [line] = (tmp_path / "events").read_text().splitlines()
    assert json.loads(line)["event_id"] == removed.event_id


def test_nothing_is_removed_that_cannot_be_archived(old: Callable[..., Order], tmp_path: Path) -> None:
    order = old(**ENDED, execution_status=ExecutionStatus.CANCELED)
    with pytest.raises(CommandError, match="cannot be written"):
        prune(archive=tmp_path / "no such directory" / "events")
    assert order.events.exists()


def test_a_client_cannot_resume_after_an_event_that_is_gone(old: Callable[..., Order]) -> None:
    event = old(**ENDED, execution_status=ExecutionStatus.CANCELED).events.get()
    assert position_after(event.event_id, event.account_id) is not None
    prune()
    # The notification service closes with 4404 then.
    assert position_after(event.event_id, event.account_id) is None


def test_halts_and_limits_are_remembered_for_ever(old: Callable[..., Order]) -> None:
    halt_trading("dora", "odd")
    prune()
    assert SafetyEvent.objects.exists()


def test_a_retention_shorter_than_that_of_reports_in_kafka_is_refused() -> None:
    with pytest.raises(CommandError, match="from 8"):
        call_command("prune_events", "--days", "7")
