from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from devstack import local_install
from devstack.embedded_postgres import Server
from devstack.postgres_programs import PostgresError
from infrastructure.database.unavailable import database_needed
from lemon_market.backup import BackupError, restore_backup


class Command(BaseCommand):
    help = "Restores a backup into an empty database and prepares it for work. Trading is halted afterwards."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"].absolute()
        if not path.is_file():
            raise CommandError(f"There is no file {path}.")
        try:
            with database_needed(), database_at_work():
                restore_backup(path)
                call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
                call_command("after_restore", stdout=self.stdout)
        except (BackupError, PostgresError) as error:
            raise CommandError(str(error)) from error


@contextmanager
def database_at_work() -> Iterator[None]:
    """Start the embedded server for the time of the restore, since it is stopped while nothing else runs."""
    if not settings.EMBEDDED_POSTGRES:
        yield
        return
    install = local_install.load_with_free_port(settings.DATA_DIR)
    settings.DATABASES["default"] |= install.postgres_changes
    server = Server(settings.DATA_DIR)
    try:
        yield
    finally:
        connection.close()
        server.stop()
