import signal
import threading
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from orders.placement.sweep import Sweep

log = structlog.get_logger()


class Command(BaseCommand):
    help = "Makes sure that all due orders are handled. Run one next to the workers, on the same machine."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--interval", type=float, default=1.0, help="seconds between rounds (default: 1)")

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        sweep = Sweep()
        while not stopping.is_set():
            try:
                sweep.run_once()
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", doing="sweep", error=one_line(error))
                connection.close()
                sweep.forget()
            stopping.wait(options["interval"])
