"""Backups of the database: made with `pg_dump` and restored with `pg_restore`, in versions that fit the server."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from django.db import connection

from devstack.postgres_programs import PostgresError, installed_programs, major_version
from infrastructure.database.parameters import ParameterSecret, program_parameters

# The suffix of a backup's name until it is complete.
UNFINISHED = ".unfinished"


class BackupError(Exception):
    """A backup could not be made or restored; the message is one line for the operator."""


def make_backup(path: Path) -> None:
    """Write a backup to `path`, which appears only when it is complete; no process need stop. Raises BackupError."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        # No other user may read it: it contains every order.
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
    """Flush a file's content, or a directory's entries, to disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def restore_backup(path: Path) -> None:
    """Restore a backup into an empty database, which is still empty if this fails. Raises BackupError."""
    if connection.introspection.table_names():
        raise BackupError("the database is not empty: restore a backup into a new one")
    run("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", str(path))


def run(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL, with the password in the environment, where other users cannot see it. Raises BackupError."""
    connection.ensure_connection()
    over_tls = connection.connection.pgconn.ssl_in_use
    found = find(program, over_tls=over_tls)
    # The connection would be idle while the program runs.
    connection.close()
    try:
        parameters = program_parameters()
    except ParameterSecret as error:
        raise BackupError(str(error)) from error
    environment = os.environ | parameters.environment
    if over_tls and environment.get("PGSSLMODE", "prefer") in {"allow", "prefer"}:
        # If the program found no TLS where we did, it would send every order unencrypted.
        environment["PGSSLMODE"] = "require"
    command = [str(found), f"--dbname={parameters.dbname}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BackupError(reason)


def find(program: str, *, over_tls: bool) -> Path:
    """The program in the server's major version or a newer one, since an older `pg_dump` refuses. Raises BackupError."""
    needed = connection.pg_version // 10_000  # type: ignore[attr-defined]  # PostgreSQL's backend has it
    # The programs in the wheel are built without TLS.
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
        # Without the wheel, the system may have its own programs.
        return None
    return programs if int(major_version(programs)) >= needed else None


def version_of(program: str) -> int:
    """The major version, such as 15 from `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; 0 if it cannot be found."""
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\) (\d+)", answer.stdout)
    return int(match[1]) if match else 0
