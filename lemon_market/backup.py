"""Backups of the database: what `pg_dump` writes, made and brought back by the programs that fit the server."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from django.db import connection

from devstack.postgres_programs import PostgresError, installed_programs, major_version
from infrastructure.database.parameters import ParameterSecret, program_parameters

# The end of a backup's name until it is whole.
UNFINISHED = ".unfinished"


class BackupError(Exception):
    """The backup was not made, or not brought back; the message is one line for the person who asked for it."""


def make_backup(path: Path) -> None:
    """Write a backup to `path`, which appears only when it is whole. Everything may go on meanwhile. Raises BackupError."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        # Nobody else may read it: it has every order.
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        run("pg_dump", "--format=custom", f"--file={unfinished}")
        flush(unfinished)
        unfinished.replace(path)
        flush(path.parent)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Put it onto the disk: a file's content, or a directory's names."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def restore_backup(path: Path) -> None:
    """Bring a backup back into a database that is empty; nothing is there when it fails. Raises BackupError."""
    if connection.introspection.table_names():
        raise BackupError("the database is not empty: a backup is restored into a new one")
    run("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", str(path))


def run(program: str, *arguments: str) -> None:
    """The password goes through the environment, where other users of the machine do not see it. Raises BackupError."""
    connection.ensure_connection()
    over_tls = connection.connection.pgconn.ssl_in_use
    found = find(program, over_tls=over_tls)
    # It would be idle for as long as the program runs.
    connection.close()
    try:
        parameters = program_parameters()
    except ParameterSecret as error:
        raise BackupError(str(error)) from error
    environment = os.environ | parameters.environment
    if over_tls and environment.get("PGSSLMODE", "prefer") in {"allow", "prefer"}:
        # It shall not go on in the clear, with every order, should it find no TLS where we did.
        environment["PGSSLMODE"] = "require"
    command = [str(found), f"--dbname={parameters.dbname}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BackupError(reason)


def find(program: str, *, over_tls: bool) -> Path:
    """Of the server's major version or a newer one: an older `pg_dump` refuses. Raises BackupError."""
    needed = connection.pg_version // 10_000  # type: ignore[attr-defined]  # PostgreSQL's backend has it
    # Those of the wheel are made without TLS.
    if not over_tls and (programs := wheel_programs(needed)) is not None:
        return programs / program
    found = shutil.which(program)
    if found is None or version_of(found) < needed:
        wanted = f"{program} of PostgreSQL {needed} or newer{', with TLS,' if over_tls else ''} is needed"
        raise BackupError(f"{wanted}: on Debian install postgresql-client-{needed}")
    return Path(found)


def wheel_programs(needed: int) -> Path | None:
    try:
        programs = installed_programs()
    except PostgresError:
        # Without the wheel there may still be the system's own.
        return None
    return programs if int(major_version(programs)) >= needed else None


def version_of(program: str) -> int:
    """The major version: 15 of `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; 0 when it does not say."""
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    said = re.search(r"\) (\d+)", answer.stdout)
    return int(said[1]) if said else 0
