from typing import Any

from django.core.management.base import BaseCommand, CommandError

from infrastructure.database.away import database_needed
from orders.management.person import person
from orders.operations.restore import NotAlone, make_fit_for_work


class Command(BaseCommand):
    help = "Makes a database fit for work that was restored from a backup, and halts trading. Run it before any other process."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with database_needed():
                restored = make_fit_for_work(f"{person()} (manage.py after_restore)")
        except NotAlone as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Trading is halted. {restored.events} event(s) renumbered, {restored.unpublished} of them to be published;"
            f" {restored.looked_up} order(s) are looked up when workers start.\n"
            "Next: start everything, run manage.py reconcile --apply, and resume trading when nothing differs."
        )
