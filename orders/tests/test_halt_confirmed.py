"""When a halt is confirmed: all that it covers and that began before it has ended, and nothing else is waited for."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from psycopg import IsolationLevel

from exchange import gateway as venue
from orders.models import Halt, Order
from orders.placement.attempts import Claim, record
from orders.placement.sweep import Sweep
from orders.risk.halts import how_far
from orders.risk.switches import confirm_halts
from orders.tests.halting import halt, resume
from testsupport.api_calls import MARKET, client_for, post
from testsupport.database import database_url
from testsupport.placement import POLICY, answered, claim_one, let_time_pass, many_like, run_loop
from testsupport.simulator_process import SimulatorProcess

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]


@pytest.fixture
def session() -> Iterator[Callable[[str], psycopg.Connection]]:
    """Opens a connection of another process, in the middle of a transaction that has read something."""
    with ExitStack() as stack:

        def begin(application_name: str) -> psycopg.Connection:
            opened = psycopg.connect(database_url(), application_name=application_name)
            stack.callback(opened.close)
            opened.execute("SELECT count(*) FROM orders_halt")
            return opened

        yield begin


def is_confirmed() -> bool:
    confirm_halts()
    return Halt.objects.get(ended_at=None).confirmed_at is not None


def test_a_halt_is_confirmed_when_nothing_is_under_way(accept: Accept) -> None:
    accept()
    begun = halt()
    assert (begun.stopping_since, begun.confirmed_at, how_far(begun)) == (None, None, "stopping, 0 sends under way")
    Sweep().run_once()
    begun.refresh_from_db()
    assert begun.stopping_since is not None
    assert begun.confirmed_at is not None
    assert begun.started_at <= begun.stopping_since <= begun.confirmed_at
    assert how_far(begun) == f"confirmed at {begun.confirmed_at:%Y-%m-%d %H:%M:%S} UTC"


def test_a_transaction_that_is_older_and_may_accept_delays_it(session: Callable[[str], psycopg.Connection]) -> None:
    # Between two statements, and without having written anything, it holds no snapshot and no transaction id.
    older = session("lemon_market web")
    halt()
    assert not is_confirmed()
    noted = Halt.objects.get().stopping_since
    session("lemon_market web")
    older.rollback()
    assert is_confirmed(), "the one that began later knows of the halt"
    assert Halt.objects.get().stopping_since == noted


def test_a_backup_does_not_delay_it(session: Callable[[str], psycopg.Connection]) -> None:
    dump = session("pg_dump")
    dump.rollback()
    dump.isolation_level = IsolationLevel.REPEATABLE_READ
    dump.execute("SELECT count(*) FROM orders_order")
    halt()
    assert is_confirmed()


def test_whoever_writes_delays_it_whatever_their_name_is(session: Callable[[str], psycopg.Connection]) -> None:
    writing = session("psql")
    writing.execute("SELECT pg_current_xact_id()")
    halt()
    assert not is_confirmed()
    writing.commit()
    assert is_confirmed()


def test_a_claim_that_was_never_recorded_delays_it_for_its_lease_and_the_margin(accept: Accept) -> None:
    accept()
    claim_one()
    halt()
    assert not is_confirmed()
    assert how_far(Halt.objects.get()) == "stopping, 1 send under way"
    let_time_pass(POLICY.lease_s)
    assert not is_confirmed(), "the exchange's clock may be behind"
    let_time_pass(POLICY.clock_margin_s)
    assert is_confirmed()


def test_a_send_without_an_answer_delays_it_until_the_exchange_no_longer_takes_it(accept: Accept) -> None:
    accept()
    record([answered(claim_one(), venue.Unknown("cut"))], POLICY)
    halt()
    assert not is_confirmed()
    let_time_pass(POLICY.exchange_timeout_s)
    assert not is_confirmed(), "the exchange's clock may be behind"
    let_time_pass(POLICY.clock_margin_s)
    assert is_confirmed()


def test_a_send_that_is_left_to_a_person_delays_it_too(accept: Accept) -> None:
    order = accept()
    record([answered(claim_one(), venue.Acknowledged("far too long for an exchange's order id " * 3))], POLICY)
    order.refresh_from_db()
    assert (order.status, order.next_attempt_at, order.may_be_at_exchange) == ("error", None, True)
    halt()
    assert not is_confirmed()
    let_time_pass(POLICY.lease_s + POLICY.clock_margin_s)
    assert is_confirmed()


@pytest.mark.parametrize("outcome", [venue.Acknowledged("X1"), venue.Refused("no"), venue.Unavailable("no")], ids=repr)
def test_a_clear_answer_ends_the_wait(accept: Accept, outcome: venue.PlacementOutcome) -> None:
    accept()
    claim: Claim = claim_one()
    halt()
    assert not is_confirmed()
    record([answered(claim, outcome)], POLICY)
    assert is_confirmed()


@pytest.mark.parametrize("scope", ["account", "instrument"])
def test_what_it_does_not_cover_does_not_delay_it(accept: Accept, django_user_model: Any, scope: str) -> None:
    accept()
    claim_one()
    bert = django_user_model.objects.create_user("bert")
    begun = halt(**{"account": {"account": bert}, "instrument": {"instrument": "TSLA_2025_06"}}[scope])
    assert how_far(begun) == "stopping, 0 sends under way"
    assert is_confirmed()


def test_one_accounts_halt_delays_no_other(
    account: Any, django_user_model: Any, session: Callable[[str], psycopg.Connection], simulator: SimulatorProcess
) -> None:
    bert = django_user_model.objects.create_user("bert")
    session("lemon_market web")
    halt(account=bert)
    assert not is_confirmed()
    [blockers] = connection.cursor().execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    assert blockers == 0
    assert post(client_for(bert), MARKET).status_code == 422
    assert post(client_for(account), MARKET).status_code == 202
    assert run_loop(simulator.url) == 1
    assert Order.objects.get().status == "completed"
    assert not is_confirmed()


def test_several_may_confirm_at_once(accept: Accept) -> None:
    halt()
    halt(instrument="TSLA_2025_06")

    def confirm(_: int) -> None:
        try:
            confirm_halts()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(confirm, range(8)))
    # Each of them may have been an older transaction to the others.
    confirm_halts()
    confirmed = list(Halt.objects.values_list("id", "stopping_since", "confirmed_at"))
    assert all(confirmed_at is not None for *_, confirmed_at in confirmed)
    confirm_halts()
    assert list(Halt.objects.values_list("id", "stopping_since", "confirmed_at")) == confirmed


def test_a_halt_that_ended_before_is_never_confirmed(accept: Accept) -> None:
    accept()
    claim_one()
    halt()
    confirm_halts()
    resume()
    let_time_pass(POLICY.lease_s + POLICY.clock_margin_s)
    confirm_halts()
    assert Halt.objects.get().confirmed_at is None


def test_the_database_refuses_a_confirmation_of_nothing() -> None:
    halt()
    now = timezone.now()
    for moments in ({}, {"stopping_since": now + timedelta(seconds=1)}):
        with pytest.raises(IntegrityError, match="halt_confirmed_after_it_was_known"), transaction.atomic():
            Halt.objects.update(confirmed_at=now, **moments)


def test_neither_old_orders_nor_held_ones_make_it_slow(accept: Accept, django_user_model: Any) -> None:
    order = accept()
    many_like(order, 5_000, held_at="2030-01-01", next_attempt_at=None)
    bert = django_user_model.objects.create_user("bert")
    resting = {"status": "completed", "execution_status": "new", "exchange_order_id": "X", "placed_at": "2030-01-01"}
    many_like(order, 5_000, **resting, account_id=bert.pk, next_attempt_at=None)
    claim_one()
    halt()
    with CaptureQueriesContext(connection) as queries:
        assert not is_confirmed()
    [search] = [query["sql"] for query in queries if "sent_valid_until" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {search}")
        plan = str(cursor.fetchall())
    # Of pending orders those that are not held, and of the others only those in error.
    assert re.findall(r"'Index Name': '(\w+)'", plan) == ["order_give_up", "order_not_completed"]
