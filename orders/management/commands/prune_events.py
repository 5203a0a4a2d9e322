import sys
from argparse import ArgumentTypeError
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from infrastructure.database.unavailable import database_needed
from orders.operations.pruning import SHORTEST_RETENTION_DAYS, prune_events


def days(text: str) -> int:
    if not text.isdigit() or int(text) < SHORTEST_RETENTION_DAYS:
        raise ArgumentTypeError(f"a whole number from {SHORTEST_RETENTION_DAYS} is needed")
    return int(text)


class Command(BaseCommand):
    help = "Removes the history of orders that were settled long ago, which never happens automatically. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=days, required=True, help="how long to keep an order's history after its last event")
        parser.add_argument("--archive", type=Path, help="before removing events, append them to this file as JSON lines")

    def handle(self, *args: Any, **options: Any) -> None:
        before = timezone.now() - timedelta(days=options["days"])
        removed = 0
        try:
            with database_needed(), tqdm(unit=" events", file=sys.stderr, disable=None) as progress:
                for count in prune_events(before, options["archive"]):
                    removed += count
                    progress.update(count)
        except OSError as error:
            raise CommandError(f"{options['archive']} cannot be written: {error.strerror}") from error
        self.stdout.write(f"{removed} event(s) removed.")
