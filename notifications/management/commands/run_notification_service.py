from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from infrastructure.addresses import AddressError
from infrastructure.process_signals import end_process
from notifications.server import run


class Command(BaseCommand):
    help = "Sends clients their order events over WebSocket. Run as many as needed, each on its own port."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port", type=int, default=settings.NOTIFICATIONS_PORT, help=f"port on HOST; default {settings.NOTIFICATIONS_PORT}"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            code = run(options["port"])
        except AddressError as error:
            raise CommandError(str(error)) from error
        # Threads of granian may still be running.
        end_process(code)
