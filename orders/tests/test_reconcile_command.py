"""`manage.py reconcile`: what differs from the exchange is shown, and fixed when asked for."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from orders.models import DeadLetter, Order
from orders.order_ids import first_id_at
from orders.states import ExecutionStatus, Status
from testsupport.placement import run_loop
from testsupport.simulator_process import SimulatorProcess
from testsupport.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]


@pytest.fixture
def exchange(simulator: SimulatorProcess, settings: Any) -> SimulatorProcess:
    settings.EXCHANGE_URL = simulator.url
    return simulator


def reconcile(*words: str, exit_code: int) -> dict[str, Any]:
    out = StringIO()
    with pytest.raises(SystemExit) if exit_code else nullcontext():
        call_command("reconcile", "--json", *words, stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


@pytest.fixture
def missed(exchange: SimulatorProcess, accept: Accept) -> Order:
    """An order that the exchange has filled, which nobody has told us."""
    order = accept()
    run_loop(exchange.url)
    wait_until(lambda: exchange.book()[str(order.id)]["status"] == "filled")
    return order


def test_a_difference_is_shown_and_nothing_is_changed(missed: Order) -> None:
    found = reconcile(exit_code=1)
    [difference] = found["differences"]
    assert (found["looked_up"], difference["order_id"], difference["can_be_mended"]) == (1, str(missed.id), True)
    assert difference["here"] == "completed new 0 of 100"
    assert difference["there"].startswith("completed filled 100 of 100 at ")
    missed.refresh_from_db()
    assert missed.execution_status == ExecutionStatus.NEW


def test_what_differs_is_mended_when_asked_for(missed: Order) -> None:
    assert len(reconcile("--apply", exit_code=0)["differences"]) == 1
    missed.refresh_from_db()
    assert (missed.execution_status, missed.filled_quantity) == (ExecutionStatus.FILLED, 100)
    assert missed.events.filter(type="reconciled").count() == 1
    assert reconcile(exit_code=0)["differences"] == []


def test_an_order_that_was_sent_and_not_recorded_becomes_completed(missed: Order) -> None:
    missed.events.filter(type="placed").delete()
    nothing = dict.fromkeys(["exchange_order_id", "placed_at", "execution_status"])
    sent = {"may_be_at_exchange": True, "sent_valid_until": missed.created_at, "next_attempt_at": missed.created_at}
    Order.objects.filter(id=missed.id).update(status=Status.PENDING, **nothing, **sent)
    [difference] = reconcile("--apply", exit_code=0)["differences"]
    assert difference["here"] == "pending 0 of 100"
    missed.refresh_from_db()
    assert (missed.status, missed.filled_quantity) == (Status.COMPLETED, 100)


def test_an_order_that_was_retried_after_the_backup_is_found(missed: Order, accept: Accept) -> None:
    """In the database that came back it has failed, and so has one that never got anywhere."""
    never_sent = accept()
    missed.events.filter(type="placed").delete()
    nothing = dict.fromkeys(["exchange_order_id", "placed_at", "execution_status", "next_attempt_at"])
    failed = {"status": Status.FAILED, "error_code": "exchange_unavailable", "error_message": "away"}
    Order.objects.update(**nothing, **failed)
    never_sent.refresh_from_db()
    failed_long_ago = never_sent
    failed_long_ago.id = first_id_at(timezone.now() - timedelta(days=8))
    failed_long_ago.client_order_id = "8 days"
    failed_long_ago.save(force_insert=True)
    found = reconcile("--apply", exit_code=0)
    assert (found["looked_up"], [one["order_id"] for one in found["differences"]]) == (2, [str(missed.id)])
    missed.refresh_from_db()
    assert (missed.status, missed.filled_quantity) == (Status.COMPLETED, 100)
    assert Order.objects.filter(status=Status.FAILED).count() == 2


def test_an_order_that_the_exchange_does_not_have_is_left_to_a_person(exchange: SimulatorProcess, accept: Accept) -> None:
    order = accept(instrument="NEVERFILL___")
    completed = {"status": Status.COMPLETED, "exchange_order_id": "X-1", "placed_at": order.created_at, "next_attempt_at": None}
    Order.objects.filter(id=order.id).update(**completed, execution_status=ExecutionStatus.NEW)
    [difference] = reconcile("--apply", exit_code=1)["differences"]
    assert difference["can_be_mended"] is False
    order.refresh_from_db()
    assert order.status == Status.COMPLETED


def test_orders_that_only_the_exchange_knows_are_named(exchange: SimulatorProcess, accept: Accept) -> None:
    ended = {"status": Status.CANCELED, "next_attempt_at": None}
    Order.objects.filter(id=accept().id).update(**ended)
    raw = {"client_order_id": "c-1", "exchange_order_id": "X-9", "type": "filled", "filled_quantity": 5, "account": "7"}
    reason = "no order of ours has this client_order_id"
    DeadLetter.objects.create(raw=json.dumps(raw), reason=reason, session_id="s", sequence=1)
    assert reconcile(exit_code=1)["not_ours"] == {"c-1": "X-9: filled, 5 filled, account 7"}


def test_an_exchange_that_is_away_is_one_line(settings: Any, accept: Accept) -> None:
    settings.EXCHANGE_URL = "http://127.0.0.1:9"
    Order.objects.filter(id=accept().id).update(may_be_at_exchange=True, sent_valid_until=timezone.now())
    with pytest.raises(CommandError, match="The exchange does not answer"):
        call_command("reconcile")


def test_for_people_it_is_a_table(missed: Order) -> None:
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("reconcile", stdout=out)
    first, line = out.getvalue().splitlines()
    assert first == "1 order(s) looked up, 1 differ(s)."
    assert str(missed.id) in line
    assert line.endswith("(fixed by --apply)")
