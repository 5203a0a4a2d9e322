"""`manage.py run_exchange_simulator`: the simulated exchange on this computer."""

import logging
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from exchange.simulator.command import add_arguments, run

log = logging.getLogger(__name__)


class Command(BaseCommand):
    """Run until SIGTERM or SIGINT; if it cannot start, exit with code 1 and one line on stderr."""

    help = "Runs the simulated exchange, which is as unreliable as you want; its book survives a restart."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser, port=settings.EXCHANGE_PORT, data_dir=Path(settings.DATA_DIR) / "exchange")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.LOG_JSON:
            sys.exit(run(options, announce=lambda url: log.info("exchange simulator: listening on %s", url)))
        sys.exit(run(options))
