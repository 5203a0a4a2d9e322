"""Shared by the commands that halt and resume trading: scope and reason from the command line."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from infrastructure.database.unavailable import database_needed
from orders.instruments import canonical_instrument
from orders.management.operator_name import operator_name
from orders.models import Halt
from orders.risk.switches import AlreadyHalted, NotHalted


def add_scope(parser: CommandParser) -> None:
    parser.add_argument("--reason", required=True, type=words, help="why; recorded with your name")
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--account", help="only this account (its user name)")
    scope.add_argument("--instrument", type=instrument, help="only this instrument")


def words(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("a reason is needed")
    return text.strip()


def instrument(text: str) -> str:
    try:
        return canonical_instrument(text)
    except ValueError:
        raise ArgumentTypeError("exactly 12 characters are needed: letters, digits and . _ -") from None


def switch(do: Callable[..., Halt], command: str, options: dict[str, Any]) -> Halt:
    """Switch a halt on or off by `do`. Raises CommandError with one line that says what is wrong."""
    try:
        with database_needed():
            account = None
            if options["account"] is not None:
                account = User.objects.filter(username=options["account"]).first()
                if account is None:
                    raise CommandError(f"There is no account {options['account']!r}.")
            by = f"{operator_name()} (manage.py {command})"
            return do(by, options["reason"], account=account, instrument=options["instrument"])
    except (AlreadyHalted, NotHalted) as error:
        raise CommandError(str(error)) from error
