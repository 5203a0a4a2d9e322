from typing import Any

from django.core.management.base import BaseCommand

from infrastructure.database.unavailable import database_needed
from orders.executions.replay import replay_dead_letters


class Command(BaseCommand):
    help = "Tries again to apply dead letters, the reports that could not be applied. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        with database_needed():
            applied, remaining = replay_dead_letters()
        self.stdout.write(f"{applied} report(s) applied, {remaining} left.")
