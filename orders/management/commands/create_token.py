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
    help = "Prints a new API token for an account. The token is stored hashed, so it is shown only this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="the account's user name")
        parser.add_argument("--create", action="store_true", help="create the account if it does not exist")
        lasts = parser.add_mutually_exclusive_group()
        lasts.add_argument(
            "--days", type=int, default=settings.TOKEN_TTL, help="days that the token is valid (default: TOKEN_TTL)"
        )
        lasts.add_argument("--never", action="store_const", const=0, dest="days", help="the token is valid until it is revoked")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        if not 0 <= days <= MAX_DAYS:
            raise CommandError(f"--days must be from 1 to {MAX_DAYS}.")
        expiry = timedelta(days=days) if days else None
        with database_needed():
            _, token = AuthToken.objects.create(account(options["username"], create=options["create"]), expiry)
        self.stdout.write(token)


def account(username: str, *, create: bool) -> User:
    found = User.objects.filter(username=username).first()
    if found is not None:
        if not found.is_active:
            raise CommandError(f"The account {username!r} is not active, so its tokens would not be accepted.")
        return found
    if not create:
        raise CommandError(f"There is no account {username!r}; --create creates it.")
    new = User(username=username)
    new.set_unusable_password()
    try:
        new.full_clean()
    except ValidationError as error:
        raise CommandError(f"No account can have the name {username!r}: {' '.join(error.messages)}") from error
    new.save()
    return new
