from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from orders.management.safety import add_scope, switch
from orders.risk.switches import resume_trading


class Command(BaseCommand):
    help = "Ends the halt of exactly the named scope. The sweep then releases the orders that waited for it."

    def add_arguments(self, parser: CommandParser) -> None:
        add_scope(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        halt = switch(resume_trading, "resume_trading", options)
        self.stdout.write(f"{halt} is resumed.")
