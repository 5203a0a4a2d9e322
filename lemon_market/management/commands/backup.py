from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from infrastructure.database.unavailable import database_needed
from lemon_market.backup import BackupError, make_backup
from lemon_market.backup_directory import add_backup


class Command(BaseCommand):
    help = "Writes a backup of the database to a file (pg_dump, custom format), while everything runs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, nargs="?", help="where to write it; default: a new file in BACKUP_DIR")
        parser.add_argument(
            "--keep", type=at_least_one, metavar="N", help="afterwards remove all but the newest N from BACKUP_DIR"
        )

    def handle(self, *args: Any, file: Path | None, keep: int | None, **options: Any) -> None:
        if file is not None and keep is not None:
            raise CommandError("--keep is for backups in BACKUP_DIR: leave out the file.")
        try:
            with database_needed():
                path = backup_to(file.absolute()) if file is not None else backup_into(settings.BACKUP_DIR, keep)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{path}: {path.stat().st_size:,} bytes.")


def backup_to(path: Path) -> Path:
    make_backup(path)
    return path


def backup_into(directory: Path | None, keep: int | None) -> Path:
    if directory is None:
        raise CommandError("Name a file, or set BACKUP_DIR.")
    return add_backup(directory, keep)


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("1 or more")
    return int(text)
