from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from orders.halting import halt_trading
from orders.management.safety import add_scope, switch


class Command(BaseCommand):
    help = "Halts trading: nothing new is accepted and nothing is sent. Cancels, look-ups and executions go on."

    def add_arguments(self, parser: CommandParser) -> None:
        add_scope(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        halt = switch(halt_trading, "halt_trading", options)
        self.stdout.write(f"{halt} is halted.")
