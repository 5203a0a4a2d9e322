from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError
from knox.models import AuthToken


class Command(BaseCommand):
    help = "Prints a new API token for an account. It is stored hashed, so this is the only time that it can be seen."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="the account's user name")
        parser.add_argument("--create", action="store_true", help="make the account when it does not exist")

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        try:
            account = users.filter(username=options["username"]).first()
            if account is None:
                if not options["create"]:
                    raise CommandError(f"There is no account {options['username']!r}; --create makes it.")
                account = users.create_user(options["username"])
            _, token = AuthToken.objects.create(account)
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database cannot be reached: {str(error).strip()}") from error
        self.stdout.write(token)
