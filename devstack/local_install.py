"""The values that an installation generates for itself: its secret key, two passwords and PostgreSQL's port.

They are kept in DATA_DIR/local.json, written by `manage.py up` and all else that starts the embedded PostgreSQL. The settings
read them before Django is ready, so nothing here imports Django.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from devstack.free_ports import NoFreePortError, free_port, is_free

POSTGRES_ROLE = "lemon_market"
POSTGRES_DATABASE = "lemon_market"
# Nothing listens there (IANA: tcpmux).
UNUSED_PORT = 1


class LocalInstallError(Exception):
    """DATA_DIR cannot be used; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class LocalInstall:
    """The values that were generated at the first start."""

    secret_key: str
    postgres_port: int
    postgres_password: str
    admin_password: str

    @property
    def postgres_changes(self) -> dict[str, Any]:
        """For the `DATABASES` of a process that read its settings before these values were stored."""
        return {"PORT": self.postgres_port, "PASSWORD": self.postgres_password}

    @property
    def postgres_url(self) -> str:
        """The embedded PostgreSQL's address in the form of DATABASE_URL."""
        return f"postgres://{POSTGRES_ROLE}:{self.postgres_password}@127.0.0.1:{self.postgres_port}/{POSTGRES_DATABASE}"


def read_or_invent(data_dir: Path) -> LocalInstall:
    """Read the values of this installation. Before its first start, return some that are stored nowhere and of use to nobody.

    Raises `LocalInstallError`.
    """
    try:
        return _read(data_dir) if _path(data_dir).exists() else _made_up(postgres_port=UNUSED_PORT)
    except OSError as error:
        raise LocalInstallError(f"DATA_DIR {data_dir} cannot be used: {error}") from error


def load(data_dir: Path) -> LocalInstall:
    """Read the values of this installation; the first call generates and stores them. Raises `LocalInstallError`."""
    try:
        if not _path(data_dir).exists():
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(data_dir):
                # Two processes that start at once both get here; the second finds the first one's values.
                if not _path(data_dir).exists():
                    _write(data_dir, _made_up(_postgres_port()))
        return _read(data_dir)
    except OSError as error:
        raise LocalInstallError(f"DATA_DIR {data_dir} cannot be used: {error}") from error


def load_with_free_port(data_dir: Path) -> LocalInstall:
    """Like `load`, for a caller about to start PostgreSQL: if its port was taken meanwhile, choose and store another.

    Raises `LocalInstallError`.
    """
    install = load(data_dir)
    if is_free(install.postgres_port):
        return install
    try:
        with _locked(data_dir):
            install = replace(_read(data_dir), postgres_port=_postgres_port())
            _write(data_dir, install)
    except OSError as error:
        raise LocalInstallError(f"DATA_DIR {data_dir} cannot be written: {error}") from error
    return install


def _path(data_dir: Path) -> Path:
    return data_dir / "local.json"


def _made_up(postgres_port: int) -> LocalInstall:
    return LocalInstall(
        secret_key=secrets.token_urlsafe(48),
        postgres_port=postgres_port,
        postgres_password=secrets.token_urlsafe(24),
        admin_password=secrets.token_urlsafe(12),
    )


def _read(data_dir: Path) -> LocalInstall:
    try:
        install = LocalInstall(**json.loads(_path(data_dir).read_text()))
    except (ValueError, TypeError) as error:
        message = f"{_path(data_dir)} is damaged: restore it, or start afresh by removing {data_dir} with everything in it"
        raise LocalInstallError(message) from error
    return install


def _write(data_dir: Path, install: LocalInstall) -> None:
    """Replace the file atomically, since readers take no lock. The caller holds the lock."""
    new = data_dir / "local.json.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(install), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    new.replace(_path(data_dir))


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the lock on DATA_DIR. The kernel drops it with the process, so it is never left behind."""
    handle = os.open(data_dir, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _postgres_port() -> int:
    try:
        return free_port()
    except NoFreePortError as error:
        raise LocalInstallError(f"PostgreSQL cannot be started: {error}") from error
