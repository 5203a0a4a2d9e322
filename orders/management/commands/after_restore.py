from typing import Any

from django.core.management.base import BaseCommand, CommandError

from infrastructure.database.unavailable import database_needed
from orders.management.operator_name import operator_name
from orders.operations.restore import OtherSessionsConnected, prepare_restored_database


class Command(BaseCommand):
    help = "Prepares a database that was restored from a backup, and halts trading. Run it before starting any other process."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with database_needed():
                restored = prepare_restored_database(f"{operator_name()} (manage.py after_restore)")
        except OtherSessionsConnected as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Trading is halted. {restored.events} event(s) renumbered, {restored.unpublished} of them still to be published;"
            f" {restored.looked_up} order(s) will be looked up when workers start.\n"
            "Next: start everything, run manage.py reconcile --apply, and resume trading once nothing differs."
        )
