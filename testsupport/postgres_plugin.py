"""A pytest plugin that gives the tests their own PostgreSQL unless DATABASE_URL names one.

pytest.ini loads it with `-p`, since the database has to exist before pytest-django reads the settings.
"""

import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from devstack import local_install
from devstack.embedded_postgres import Server
from devstack.postgres_programs import PostgresError

# How many test runs may go on at once in one checkout.
_PLACES = 16


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Prepare the environment before pytest-django reads the settings, in its hook of the same name, which this one wraps."""
    # Tests must not use this installation's key or, through .env, its demo account.
    os.environ.setdefault("SECRET_KEY", "only-for-tests-" + "0" * 40)
    os.environ["ANONYMOUS_ACCOUNT"] = ""
    # Test clients use plain HTTP, and all come from one address.
    os.environ |= {"HTTPS_ONLY": "false", "TRUSTED_PROXIES": "0", "FAILED_LOGINS_PER_MINUTE": "0"}
    if not os.environ.get("DATABASE_URL"):
        try:
            server, url = _start(early_config.rootpath / ".local" / "tests")
        except (PostgresError, local_install.LocalInstallError, OSError) as error:
            raise pytest.UsageError(f"no database for the tests: {error}") from error
        early_config.add_cleanup(server.stop)
        os.environ["DATABASE_URL"] = url
    return (yield)


def _start(directory: Path) -> tuple[Server, str]:
    """Start a server in a directory of our own, reusing what an earlier run left there."""
    data_dir = _own_place(directory)
    install = local_install.load_with_free_port(data_dir)
    return Server(data_dir, expendable=True), install.postgres_url


def _own_place(directory: Path) -> Path:
    """Lock the first directory that no other test run holds, until this process ends."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(_PLACES):
        lock = os.open(directory / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return directory / str(number)
    raise PostgresError(f"{_PLACES} test runs are using {directory} already")
