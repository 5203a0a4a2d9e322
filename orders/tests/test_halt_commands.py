import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from exchange.gateway import Acknowledged
from orders.management.commands import halt_trading as halt_command
from orders.models import Halt, Order, SafetyEvent
from orders.placement.attempts import record
from orders.tests.commands import NOWHERE, manage
from testsupport.placement import POLICY, answered, claim_one

pytestmark = pytest.mark.django_db


def run(command: str, *arguments: str) -> str:
    output = io.StringIO()
    call_command(command, *arguments, stdout=output)
    return output.getvalue().strip()


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ([], "All trading"),
        (["--account", "anna"], "Trading of anna"),
        (["--instrument", "TSLA_2025_06"], "Trading in TSLA_2025_06"),
        (["--instrument", "tsla_2025_06"], "Trading in TSLA_2025_06"),
    ],
    ids=str,
)
def test_trading_is_halted_and_resumed_in_the_persons_name(
    account: Any, monkeypatch: pytest.MonkeyPatch, scope: list[str], name: str
) -> None:
    monkeypatch.setenv("LOGNAME", "emil")
    said = run("halt_trading", "--reason", " odd prices ", *scope)
    assert re.fullmatch(
        rf"{name} is halted: stopping, 0 sends under way\.\nconfirmed: nothing is under way, after [0-9.]+ s\.", said
    )
    with pytest.raises(CommandError, match=f"^{name} is already halted.$"):
        run("halt_trading", "--reason", "again", *scope)
    assert run("resume_trading", "--reason", "explained", *scope) == f"{name} is resumed."
    with pytest.raises(CommandError, match=f"^{name} is not halted.$"):
        run("resume_trading", "--reason", "again", *scope)
    halt = Halt.objects.get()
    assert (halt.started_by, halt.reason) == ("emil (manage.py halt_trading)", "odd prices")
    assert (halt.ended_by, halt.end_reason) == ("emil (manage.py resume_trading)", "explained")
    assert list(SafetyEvent.objects.order_by("id").values_list("type", flat=True)) == ["halted", "resumed"]


def test_the_command_waits_for_what_is_under_way(accept: Callable[..., Order], monkeypatch: pytest.MonkeyPatch) -> None:
    accept()
    claim = claim_one()
    waited = []

    def record_instead_of_sleeping(seconds: float) -> None:
        waited.append(seconds)
        record([answered(claim, Acknowledged("X1"))], POLICY)

    monkeypatch.setattr(halt_command, "sleep", record_instead_of_sleeping)
    first, second = run("halt_trading", "--reason", "x").splitlines()
    assert first == "All trading is halted: stopping, 1 send under way."
    assert second.startswith("confirmed: nothing is under way, after ")
    assert (waited, Halt.objects.get().confirmed_at is not None) == ([0.1], True)


def test_the_command_does_not_have_to_wait(accept: Callable[..., Order], monkeypatch: pytest.MonkeyPatch) -> None:
    accept()
    claim_one()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(halt_command, "sleep", interrupt)
    assert run("halt_trading", "--reason", "x", "--instrument", "AAPL_2025_03", "--no-wait").splitlines() == [
        "Trading in AAPL_2025_03 is halted: stopping, 1 send under way."
    ]
    assert run("halt_trading", "--reason", "x").splitlines() == [
        "All trading is halted: stopping, 1 send under way.",
        "The halt is in force; the sweep confirms it.",
    ]
    monkeypatch.setattr(halt_command, "sleep", lambda _: run("resume_trading", "--reason", "x", "--account", "anna"))
    assert run("halt_trading", "--reason", "x", "--account", "anna").splitlines()[1] == "It was resumed before it was confirmed."
    assert list(Halt.objects.values_list("confirmed_at", flat=True)) == [None] * 3


def test_resuming_everything_leaves_the_halt_of_an_account_in_force(account: Any) -> None:
    run("halt_trading", "--reason", "x")
    run("halt_trading", "--reason", "x", "--account", "anna")
    run("resume_trading", "--reason", "x")
    assert [str(halt) for halt in Halt.objects.filter(ended_at=None)] == ["Trading of anna"]


@pytest.mark.parametrize("command", ["halt_trading", "resume_trading"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --reason"),
        (["--reason", " "], "argument --reason: a reason is needed"),
        (["--reason", "x", "--account", "nobody"], "There is no account 'nobody'."),
        (["--reason", "x", "--account", ""], "There is no account ''."),
        (
            ["--reason", "x", "--instrument", "TSLA"],
            "argument --instrument: exactly 12 characters are needed: letters, digits and . _ -",
        ),
        (
            ["--reason", "x", "--account", "anna", "--instrument", "TSLA_2025_06"],
            "argument --instrument: not allowed with argument --account",
        ),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_by_name(command: str, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError) as refusal:
        run(command, *arguments)
    assert str(refusal.value).removeprefix("Error: ") == message
    assert not Halt.objects.exists()


@pytest.mark.parametrize("command", ["halt_trading", "resume_trading"])
def test_a_database_that_is_away_is_one_line(command: str) -> None:
    done = manage(command, "--reason", "x", url=NOWHERE, capture_output=True)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("CommandError: The database is not available: ")
