from typing import Any

from django.core.management.base import BaseCommand

from infrastructure.database.away import database_needed
from orders.executions.replay import replay_set_aside


class Command(BaseCommand):
    help = "Applies the reports that were set aside, once their reason is gone. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        with database_needed():
            applied, remaining = replay_set_aside()
        self.stdout.write(f"{applied} report(s) applied, {remaining} still set aside.")
