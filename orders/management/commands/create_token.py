from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from knox.models import AuthToken

from infrastructure.database.unavailable import database_needed

MAX_DAYS = 3650


class Command(BaseCommand):
    help = "Prints a new API token for an account. It is stored hashed, so this is the only time that it can be seen."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="the account's user name")
        parser.add_argument("--create", action="store_true", help="make the account when it does not exist")
        lasts = parser.add_mutually_exclusive_group()
        lasts.add_argument("--days", type=int, default=settings.TOKEN_TTL, help="how long it lasts (TOKEN_TTL)")
        lasts.add_argument("--never", action="store_const", const=0, dest="days", help="it lasts until it is revoked")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        if not 0 <= days <= MAX_DAYS:
            raise CommandError(f"--days must be from 1 to {MAX_DAYS}.")
        expiry = timedelta(days=days) if days else None
        with database_needed():
            _, token = AuthToken.objects.create(account(options["username"], make=options["create"]), expiry)
        self.stdout.write(token)


def account(username: str, *, make: bool) -> User:
    found = User.objects.filter(username=username).first()
    if found is not None:
        if not found.is_active:
            raise CommandError(f"The account {username!r} is not active, so that no token of it would be taken.")
        return found
    if not make:
        raise CommandError(f"There is no account {username!r}; --create makes it.")
    new = User(username=username)
    new.set_unusable_password()
    try:
        new.full_clean()
    except ValidationError as error:
        raise CommandError(f"No account can have the name {username!r}: {' '.join(error.messages)}") from error
    new.save()
    return new
