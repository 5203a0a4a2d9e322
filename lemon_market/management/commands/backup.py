from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from lemon_market.backup import BackupError, make_backup
from lemon_market.database.away import database_needed


class Command(BaseCommand):
    help = "Writes a backup of the database to a file (pg_dump, custom format), while everything runs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"].absolute()
        try:
            with database_needed():
                make_backup(path)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{path}: {path.stat().st_size:,} bytes.")
