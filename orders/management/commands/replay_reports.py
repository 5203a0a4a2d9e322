from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError

from orders.executions import replay_set_aside


class Command(BaseCommand):
    help = "Applies the reports that were set aside, once their reason is gone. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            applied, remaining = replay_set_aside()
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database cannot be reached: {str(error).strip()}") from error
        self.stdout.write(f"{applied} report(s) applied, {remaining} still set aside.")
