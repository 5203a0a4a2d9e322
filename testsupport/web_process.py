"""A web process with its own PostgreSQL, started as `manage.py up` does, for tests that break one of the two.

    python -m testsupport.web_process

prepares the database and prints a token and a session key of an administrator.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any

import django
import psutil
import psycopg
from django.core.management import call_command
from django.test import Client, override_settings

from devstack import local_install, processes
from devstack.embedded_postgres import Server
from devstack.free_ports import free_port
from testsupport.waiting import wait_until

CHECKOUT = Path(__file__).parents[1]
ORDER = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    headers: dict[str, str]
    took_s: float


class WebServer:
    """The web server's first process and its workers, with this environment, on a free `port`."""

    def __init__(self, output: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        with override_settings(WEB_PORT=self.port, HOST="127.0.0.1"):
            [web] = [process for process in processes.services() if process.name == "web"]
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(web.command, cwd=CHECKOUT, env=environment, stdout=file, stderr=file)

    def wait_until_ready(self) -> None:
        try:
            wait_until(self.listens, within_s=60, what="the web process listens")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def listens(self) -> bool:
        try:
            return self.ask("GET", "/health/live").status == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request over a new connection and return the answer; text is sent as it is, any other `body` as JSON."""
        started = monotonic()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            if body is not None:
                headers = {"Content-Type": "application/json", **headers}
            connection.request(method, path, body if body is None or isinstance(body, str) else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            return Answer(answer.status, text, dict(answer.headers), monotonic() - started)
        finally:
            connection.close()


class WebProcess(WebServer):
    """A web server with a database; unless `settings` say otherwise, requests without credentials use the account `demo`."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.data_dir = directory / "data"
        self.postgres = Server(self.data_dir)
        self.environment = os.environ | {
            "DATABASE_URL": local_install.load(self.data_dir).postgres_url,
            "ALLOWED_HOSTS": "127.0.0.1",
            "ANONYMOUS_ACCOUNT": "demo",
            **settings,
        }
        prepare = [sys.executable, "-m", "testsupport.web_process"]
        prepared = subprocess.run(prepare, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, check=True)
        self.token, self.session = json.loads(prepared.stdout)
        super().__init__(directory / "output", self.environment)
        self.wait_until_ready()

    def stop(self) -> None:
        super().stop()
        self.postgres.stop()

    def order(self, **terms: Any) -> Answer:
        return self.ask("POST", "/orders", ORDER | terms, Authorization=f"Token {self.token}")

    def administer(self, statement: str) -> None:
        """Run the statement even while the database is read-only, and make the server reload its settings."""
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as database:
            database.execute("SET default_transaction_read_only = off")
            database.execute(statement)
            database.execute("SELECT pg_reload_conf()")

    def kill_postgres(self) -> None:
        processes = self.postgres_processes()
        os.kill(self.postgres.pid, signal.SIGKILL)
        self.postgres.stop()
        # A process that serves a connection may answer once more before it notices.
        wait_until(lambda: not any(map(is_alive, processes)), within_s=20, what="all of PostgreSQL has ended")

    def start_postgres(self) -> None:
        self.postgres = Server(self.data_dir)

    def postgres_processes(self) -> list[psutil.Process]:
        server = psutil.Process(self.postgres.pid)
        return [server, *server.children(recursive=True)]

    def freeze_postgres(self) -> None:
        for process in self.postgres_processes():
            process.suspend()

    def thaw_postgres(self) -> None:
        for process in self.postgres_processes():
            process.resume()


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def prepare() -> None:
    # Models can be imported only when Django is set up.
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.contrib.sessions.models import Session  # noqa: PLC0415
    from knox.models import AuthToken  # noqa: PLC0415

    call_command("migrate", verbosity=0, interactive=False)
    User.objects.create_user("demo")
    person = User.objects.create_superuser("admin")
    client = Client()
    client.force_login(person)
    _, token = AuthToken.objects.create(person)
    print(json.dumps([token, Session.objects.get().session_key]))  # noqa: T201 - read by the test


if __name__ == "__main__":
    django.setup()
    prepare()
