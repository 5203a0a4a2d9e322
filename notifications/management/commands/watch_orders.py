import asyncio
import os
import signal
import stat
import sys
from contextlib import suppress
from typing import Any

import orjson
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from infrastructure import addresses
from notifications.watching import WatchError, line, watch

TOKEN_VARIABLE = "LEMON_MARKET_TOKEN"  # noqa: S105 - a name, not a secret


class Command(BaseCommand):
    help = "Prints order events as they happen; needs only the notification service, no database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        url = addresses.url(settings.NOTIFICATIONS_PORT).replace("http", "ws", 1)
        parser.add_argument("--url", default=url, help=f"the service; default {url}")
        parser.add_argument("--token", help=f"default: the environment variable {TOKEN_VARIABLE}, which other users cannot see")
        parser.add_argument("--account-less", action="store_true", help="present no token, even if there is one")
        parser.add_argument("--after", metavar="EVENT_ID", help="begin with the events after this one")
        parser.add_argument("--json", action="store_true", help="print each event as one line of JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        token = None if options["account_less"] else options["token"] or os.environ.get(TOKEN_VARIABLE) or None
        try:
            asyncio.run(self._watch(options["url"], token, options["after"], as_json=options["json"]))
        except WatchError as error:
            raise CommandError(str(error)) from error
        except BrokenPipeError:
            # The reader is gone. Without this Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    async def _watch(self, url: str, token: str | None, after: str | None, *, as_json: bool) -> None:
        def show(message: dict[str, Any]) -> None:
            self.stdout.write(orjson.dumps(message).decode() if as_json else line(message))
            self.stdout.flush()

        watching = asyncio.create_task(watch(url, token, after, show=show, tell=self.stderr.write))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, watching.cancel)
        if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
            # In a pipe such as `| head -1`, notice the reader's end before there is another line to print.
            loop.add_reader(sys.stdout.fileno(), watching.cancel)
        with suppress(asyncio.CancelledError):
            await watching
