"""A PostgreSQL of the system's that takes connections over TLS only, which the wheel's cannot."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT

import psycopg

from devstack.free_ports import free_port
from devstack.postgres_programs import other_account
from testsupport.waiting import wait_until

PASSWORD = "only-for-tests"
CERTIFICATE = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"


def system_programs() -> Path | None:
    """Debian's, the newest of them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@dataclass(frozen=True, slots=True)
class TlsPostgres:
    programs: Path
    certificate: Path
    port: int

    def url(self, name: str, options: str = "?sslmode=verify-full&sslrootcert=") -> str:
        """A name of a file that is left open is that of the server's certificate."""
        certificate = self.certificate if options.endswith("sslrootcert=") else ""
        return f"postgres://postgres:{PASSWORD}@127.0.0.1:{self.port}/{name}{options}{certificate}"


@contextmanager
def tls_postgres(programs: Path) -> Iterator[TlsPostgres]:
    # Not below the directory of the test, which the account that PostgreSQL runs as may not reach.
    directory = Path(tempfile.mkdtemp())
    data = directory / "data"
    account = other_account(data)
    data.mkdir(mode=0o700)
    (directory / "password").write_text(PASSWORD)
    directory.chmod(0o755)
    if account is not None:
        os.chown(data, account.uid, account.gid)
    switch = {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, cwd=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **switch)  # type: ignore[call-overload]

    server: subprocess.Popen[bytes] | None = None
    postgres = TlsPostgres(programs, data / "server.crt", free_port())
    try:
        run(
            programs / "initdb",
            f"--pgdata={data}",
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={directory}/password",
        )
        run("openssl", *CERTIFICATE.split(), "-keyout", data / "server.key", "-out", postgres.certificate)
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        certificate = directory / "server.crt"
        shutil.copy(postgres.certificate, certificate)
        settings = ["ssl=on", f"port={postgres.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        command = [programs / "postgres", "-D", data, *(word for setting in settings for word in ("-c", setting))]
        server = subprocess.Popen(command, cwd=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **switch)  # type: ignore[call-overload]
        postgres = TlsPostgres(programs, certificate, postgres.port)
        wait_until(lambda: answers(postgres), within_s=30, what="PostgreSQL answers")
        yield postgres
    finally:
        if server is not None:
            server.send_signal(SIGINT)
            server.wait(20)
        shutil.rmtree(directory)


def answers(postgres: TlsPostgres) -> bool:
    try:
        psycopg.connect(postgres.url("postgres")).close()
    except psycopg.OperationalError:
        return False
    return True
