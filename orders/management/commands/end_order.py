import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from infrastructure.database.unavailable import database_needed
from orders.management.operator_name import operator_name
from orders.management.safety import words
from orders.placement.manual_end import NotProvedAbsent, end_absent_order


class Command(BaseCommand):
    help = "Ends an order that the exchange acknowledged but, according to its look-ups, no longer has."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("order_id", type=uuid.UUID)
        parser.add_argument("--reason", required=True, type=words, help="why; recorded with your name")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with database_needed():
                order = end_absent_order(options["order_id"], f"{operator_name()} (manage.py end_order)", options["reason"])
        except KeyError:
            raise CommandError(f"There is no order {options['order_id']}.") from None
        except NotProvedAbsent as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Order {order.id} is {order.execution_status}, with {order.filled_quantity} filled.")
