import io
import os
import pty
import subprocess
import termios
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ
from knox.models import AuthToken
from rest_framework.test import APIClient

from orders import lifecycle
from orders.management.commands import retry_failed
from orders.models import Order, OrderEvent
from orders.placement.manual_retry import retry_orders
from orders.retry_policy import PlacementPolicy
from orders.states import ErrorCode, Status
from orders.storage import save_changes
from orders.tests import desk
from orders.tests.commands import NOWHERE, manage
from orders.tests.desk import refuse

Accept = Callable[..., Order]
DRY_RUN = "Dry run, nothing was changed. "


def run(*arguments: str) -> str:
    """What `retry_failed` prints."""
    output = io.StringIO()
    call_command("retry_failed", *arguments, stdout=output)
    return output.getvalue().strip()


def of(count: int, sent: int, looked_up: int = 0, passed_over: str = "") -> str:
    text = f"Of {count} order(s): {sent} will be sent again, {looked_up} will be looked up at the exchange first"
    return f"{text}, {passed_over}." if passed_over else f"{text}."


def pending() -> list[str]:
    return list(Order.objects.filter(status=Status.PENDING).order_by("id").values_list("client_order_id", flat=True))


@pytest.fixture
def fail(accept: Accept) -> Callable[..., Order]:
    """Accepts an order that the exchange then refuses."""

    return lambda own_id, **terms: refuse(accept(client_order_id=own_id, **terms))


@pytest.fixture
def lose(accept: Accept, policy: PlacementPolicy) -> Callable[..., Order]:
    """Accepts an order that is sent and never answered, until we give up."""
    return lambda own_id: desk.lose(accept(client_order_id=own_id), policy)


def expire(order: Order) -> None:
    past = timezone.now() - timedelta(minutes=1)
    Order.objects.filter(id=order.id).update(expires_at=past, give_up_at=past)


def test_failed_and_lost_orders_are_retried_in_the_persons_name(fail: Any, lose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "emil")
    orders = [fail("failed"), lose("lost")]
    OrmQ.objects.all().delete()
    assert run() == of(2, sent=1, looked_up=1)
    assert pending() == ["failed", "lost"]
    by = "emil (manage.py retry_failed)"
    assert [order.events.latest("id").data for order in orders] == [
        {"by": by, "will_be": "sent"},
        {"by": by, "will_be": "looked up"},
    ]
    assert OrmQ.objects.count() == 1


def test_a_second_run_finds_nothing(fail: Any) -> None:
    fail("a")
    run()
    before = OrderEvent.objects.count()
    assert run() == "Nothing to retry."
    assert OrderEvent.objects.count() == before


def test_orders_that_are_neither_failed_nor_lost_are_left_alone(accept: Accept) -> None:
    accept()
    placed = accept()
    save_changes([placed], lifecycle.acknowledged(placed, "X1", timezone.now()))
    before = list(Order.objects.values())
    assert run() == "Nothing to retry."
    assert list(Order.objects.values()) == before


@pytest.mark.parametrize("arguments", [[], ["--status", "failed"], ["--limit", "1"]])
def test_a_dry_run_says_the_same_and_changes_nothing(fail: Any, lose: Any, arguments: list[str]) -> None:
    fail("a")
    lose("b")
    expire(fail("c", expires_at=timezone.now() + timedelta(minutes=1)))
    OrmQ.objects.all().delete()
    before = list(Order.objects.values()), OrderEvent.objects.count()
    announced = run("--dry-run", *arguments)
    assert (list(Order.objects.values()), OrderEvent.objects.count()) == before
    assert not OrmQ.objects.exists()
    assert announced == DRY_RUN + run(*arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--status", "failed"], ["a", "b", "c"]),
        (["--status", "error"], ["lost"]),
        (["--status", "failed", "--status", "error"], ["a", "b", "c", "lost"]),
        (["--instrument", "TSLA_2025_06"], ["b"]),
        (["--instrument", "tsla_2025_06"], ["b"]),
        (["--account", "anna"], ["a", "b", "lost"]),
        (["--account", "bert"], ["c"]),
        (["--limit", "2"], ["a", "b"]),
        (["--limit", "99"], ["a", "b", "c", "lost"]),
        (["--since", "2030-01-02"], ["b", "c", "lost"]),
        (["--since", "2030-01-02T00:00:00Z"], ["b", "c", "lost"]),
        (["--since", "2030-01-02T00:00:00-01:00"], ["c", "lost"]),
        (["--since", "2099-01-01"], []),
        (
            ["--since", "2030-01-02", "--status", "failed", "--account", "anna", "--instrument", "TSLA_2025_06", "--limit", "1"],
            ["b"],
        ),
    ],
    ids=" ".join,
)
def test_options_choose_which_orders(
    fail: Any, lose: Any, django_user_model: Any, arguments: list[str], expected: list[str]
) -> None:
    orders = [fail("a"), fail("b", instrument="TSLA_2025_06"), fail("c"), lose("lost")]
    for day, order in enumerate(orders, 1):
        Order.objects.filter(id=order.id).update(created_at=datetime(2030, 1, day, tzinfo=UTC))
    Order.objects.filter(client_order_id="c").update(account=django_user_model.objects.create_user("bert"))
    run(*arguments)
    assert pending() == expected


def test_orders_that_cannot_be_retried_are_passed_over_with_the_reason(fail: Any) -> None:
    fail("a")
    expire(fail("b", expires_at=timezone.now() + timedelta(minutes=1)))
    assert run() == of(2, sent=1, passed_over="1 passed over (has expired)")
    assert pending() == ["a"]
    assert run() == of(1, sent=0, passed_over="1 passed over (has expired)")


def test_expired_orders_do_not_use_up_the_limit(fail: Any) -> None:
    for own_id in ("old 1", "old 2"):
        expire(fail(own_id, expires_at=timezone.now() + timedelta(minutes=1)))
    fail("new")
    assert run("--limit", "2") == of(1, sent=1)
    assert pending() == ["new"]


def test_an_expired_order_that_may_be_at_the_exchange_is_looked_up(lose: Any) -> None:
    expire(lose("lost"))
    assert run("--limit", "1") == of(1, sent=0, looked_up=1)


def test_more_orders_than_are_locked_at_once_are_all_retried(fail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_failed, "CHUNK", 2)
    for number in range(5):
        fail(str(number))
    assert run("--dry-run") == DRY_RUN + of(5, sent=5)
    assert run() == of(5, sent=5)
    assert len(pending()) == 5


def test_an_order_that_somebody_retries_meanwhile_is_passed_over(fail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [fail(own_id).id for own_id in ("a", "b")]
    selected = Order.objects.filter(id__in=ids).order_by("id")
    monkeypatch.setattr(retry_failed.Command, "selected", lambda *_: selected)
    retry_orders(ids[:1], requested_by="dora")
    assert run() == of(2, sent=1, passed_over="1 passed over (is pending)")
    assert Order.objects.get(id=ids[0]).events.latest("id").data["by"] == "dora"


def test_a_user_without_a_name_is_named_by_number(fail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    order = fail("a")
    run()
    assert order.events.latest("id").data["by"] == f"user {os.getuid()} (manage.py retry_failed)"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "argument --limit: a whole number from 1 is needed"),
        (["--limit", "-5"], "argument --limit: a whole number from 1 is needed"),
        (["--limit", "many"], "argument --limit: a whole number from 1 is needed"),
        (["--since", "yesterday"], "argument --since: a time such as 2030-01-31 or 2030-01-31T15:30:00Z is needed"),
        (["--since", "2030-02-31"], "argument --since: a time such as 2030-01-31 or 2030-01-31T15:30:00Z is needed"),
        (["--status", "pending"], "argument --status: invalid choice: 'pending' (choose from 'failed', 'error')"),
        (["--instrument", ""], "argument --instrument: exactly 12 characters are needed: letters, digits and . _ -"),
        (["--account", "nobody"], "There is no account 'nobody'."),
        (["--account", ""], "There is no account ''."),
        (["everything"], "unrecognized arguments: everything"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_by_name(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError) as refusal:
        run(*arguments)
    assert str(refusal.value).removeprefix("Error: ") == message


@pytest.mark.parametrize("command", [["retry_failed"], ["retry_failed", "--dry-run"], ["create_token", "anna", "--create"]])
def test_a_database_that_is_away_is_one_line_and_exit_code_1(command: list[str]) -> None:
    done = manage(*command, url=NOWHERE, capture_output=True)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("CommandError: The database is not available: ")
    assert "Connection refused" in line


def test_a_wrong_option_ends_with_exit_code_2(tmp_path: Any) -> None:
    done = manage("retry_failed", "--limit", "0", url=NOWHERE, capture_output=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "manage.py retry_failed: error: argument --limit: a whole number from 1 is needed"


@pytest.mark.django_db(transaction=True)
def test_progress_is_shown_on_a_terminal_only(fail: Any) -> None:
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    fail("a")
    done = manage("retry_failed", url=url, capture_output=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, of(1, sent=1), "")
    save_changes([order := Order.objects.get()], lifecycle.failed(order, ErrorCode.INTERNAL_ERROR, "x", timezone.now()))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    done = manage("retry_failed", url=url, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert (done.returncode, done.stdout.strip()) == (0, of(1, sent=1))
    assert "1/1" in shown


def create_token(*arguments: str) -> str:
    output = io.StringIO()
    call_command("create_token", *arguments, stdout=output)
    return output.getvalue().strip()


def test_a_created_token_opens_the_api_and_is_stored_hashed(account: Any) -> None:
    token = create_token("anna")
    assert APIClient().get("/orders", headers={"Authorization": f"Token {token}"}).status_code == 200
    [stored] = AuthToken.objects.values()
    assert stored["user_id"] == account.pk
    assert token not in map(str, stored.values())
    assert create_token("anna") != token


@pytest.mark.django_db
def test_an_account_is_made_only_on_request_and_cannot_log_in_by_password() -> None:
    with pytest.raises(CommandError, match="There is no account 'bert'; --create creates it"):
        create_token("bert")
    assert not User.objects.exists()
    token = create_token("bert", "--create")
    bert = User.objects.get()
    assert (bert.username, bert.is_staff, bert.is_superuser, bert.has_usable_password()) == ("bert", False, False, False)
    assert APIClient().get("/orders", headers={"Authorization": f"Token {token}"}).status_code == 200
    create_token("bert", "--create")
    assert (User.objects.count(), AuthToken.objects.count()) == (1, 2)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "a b", "x" * 151, "a\nb"])
def test_a_name_that_no_account_can_have_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="No account can have the name"):
        create_token(name, "--create")
    assert not User.objects.exists()


def test_no_token_is_made_that_nobody_could_use(account: Any) -> None:
    account.is_active = False
    account.save()
    with pytest.raises(CommandError, match="The account 'anna' is not active"):
        create_token("anna")
    assert not AuthToken.objects.exists()
