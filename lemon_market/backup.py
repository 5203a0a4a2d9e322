"""Backups of the database: what `pg_dump` writes, made and brought back by the programs that fit the server."""

import os
import shutil
import subprocess
from pathlib import Path

from django.conf import settings
from django.db import connection

from lemon_market.postgres_programs import PostgresError, installed_programs, major_version


class BackupError(Exception):
    """The backup was not made, or not brought back; the message is one line for the person who asked for it."""


def make_backup(path: Path) -> None:
    """Write a backup to `path`, which appears only when it is whole. Everything may go on meanwhile. Raises BackupError."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        # Nobody else may read it: it has every order.
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        run("pg_dump", "--format=custom", f"--file={unfinished}")
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def restore_backup(path: Path) -> None:
    """Bring a backup back into a database that is empty; nothing is there when it fails. Raises BackupError."""
    if connection.introspection.table_names():
        raise BackupError("the database is not empty: a backup is restored into a new one")
    connection.close()
    run("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", "--dbname=", str(path))


def run(program: str, *arguments: str) -> None:
    """The password goes through the environment, where other users of the machine do not see it. Raises BackupError."""
    database = settings.DATABASES["default"]
    names = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    environment = os.environ | {name: str(database[key]) for name, key in names.items() if database.get(key)}
    arguments = tuple(f"--dbname={database['NAME']}" if word == "--dbname=" else word for word in arguments)
    done = subprocess.run([find(program), *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BackupError(reason)


def find(program: str) -> Path:
    """Of the server's major version or a newer one: an older `pg_dump` refuses. Raises BackupError."""
    needed = connection.pg_version // 10_000  # type: ignore[attr-defined]  # PostgreSQL's backend has it
    try:
        programs = installed_programs()
        if int(major_version(programs)) >= needed:
            return programs / program
    except PostgresError:
        # Without the wheel there may still be the system's own.
        pass
    found = shutil.which(program)
    if found is None:
        raise BackupError(f"{program} of PostgreSQL {needed} or newer is needed: on Debian install postgresql-client-{needed}")
    return Path(found)
