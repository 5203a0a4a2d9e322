"""Backups of a server that demands TLS: the programs are given all of DATABASE_URL, and never go on in the clear."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lemon_market.tests.tls_postgres import TlsPostgres, system_programs, tls_postgres
from testsupport.installation import CHECKOUT

PROGRAMS = system_programs()
pytestmark = pytest.mark.skipif(
    PROGRAMS is None or shutil.which("openssl") is None,
    reason="needs a PostgreSQL with TLS: apt-get install postgresql openssl",
)
# Without the migrations that `manage.py restore` goes on with.
RESTORE = """
import sys, pathlib, django
django.setup()
from lemon_market.backup import restore_backup
restore_backup(pathlib.Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TlsPostgres]:
    assert PROGRAMS is not None
    with tls_postgres(PROGRAMS) as server:
        with psycopg.connect(server.url("postgres"), autocommit=True) as database:
            database.execute("CREATE DATABASE restored")
            database.execute("CREATE TABLE kept AS SELECT 4711 AS number")
        yield server


def run(url: str, path: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": url, "PATH": path}
    return subprocess.run([sys.executable, *command], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", ["", "?sslmode=require", "?sslmode=verify-full&sslrootcert="])
def test_a_server_that_demands_tls_is_backed_up_and_restored(server: TlsPostgres, tmp_path: Path, options: str) -> None:
    programs, backup = str(server.programs), str(tmp_path / "backup")
    done = run(server.url("postgres", options), programs, "manage.py", "backup", backup)
    assert (done.returncode, done.stderr) == (0, "")
    done = run(server.url("restored", options), programs, "-c", RESTORE, backup)
    assert (done.returncode, done.stderr) == (0, "")
    with psycopg.connect(server.url("restored")) as database:
        assert database.execute("SELECT number FROM kept").fetchall() == [(4711,)]
        database.execute("DROP TABLE kept")


def test_without_a_program_that_knows_tls_the_reason_is_one_line(server: TlsPostgres, tmp_path: Path) -> None:
    done = run(server.url("postgres"), str(tmp_path), "manage.py", "backup", str(tmp_path / "backup"))
    major = server.programs.parent.name
    wanted = f"pg_dump of PostgreSQL {major} or newer, with TLS, is needed: on Debian install postgresql-client-{major}"
    assert (done.returncode, done.stderr) == (1, f"CommandError: {wanted}\n")
    assert list(tmp_path.iterdir()) == []
