from time import monotonic, sleep
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from infrastructure.database.unavailable import database_needed
from orders.management.safety import add_scope, switch
from orders.models import Halt
from orders.risk.halts import how_far
from orders.risk.switches import confirm_halts, halt_trading

LOOK_EVERY_S = 0.1


class Command(BaseCommand):
    help = (
        "Halts trading: no new orders are accepted and nothing is sent. Cancels, look-ups and executions go on. "
        "Waits until all sends under way have ended; if interrupted, the halt stays in force."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_scope(parser)
        parser.add_argument("--no-wait", action="store_true", help="leave it to the sweep to confirm the halt")

    def handle(self, *args: Any, **options: Any) -> None:
        halt = switch(halt_trading, "halt_trading", options)
        began_s = monotonic()
        with database_needed():
            self.say(f"{halt} is halted: {how_far(halt)}.")
            if options["no_wait"]:
                return
            try:
                wait_for_end(halt)
            except KeyboardInterrupt:
                self.say("The halt is in force; the sweep confirms it.")
                return
        if halt.confirmed_at is None:
            self.say("It was resumed before it was confirmed.")
        else:
            self.say(f"confirmed: nothing is under way, after {monotonic() - began_s:.1f} s.")

    def say(self, text: str) -> None:
        """Write at once, even to a file."""
        self.stdout.write(text)
        self.stdout.flush()


def wait_for_end(halt: Halt) -> None:
    """Wait until the halt is confirmed or over."""
    while True:
        confirm_halts()
        halt.refresh_from_db()
        if halt.confirmed_at is not None or halt.ended_at is not None:
            return
        sleep(LOOK_EVERY_S)
