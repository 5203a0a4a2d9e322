"""The lines of a real run, of every process, while some of them are killed."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from typing import Any

import psycopg
import pytest

from devstack import local_install
from infrastructure import logs
from testsupport.installation import CHECKOUT, Installation
from testsupport.waiting import wait_until

ORDER = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100}
SECRET_PASSWORD = "a-password-that-was-mistyped"


class Run:
    """An installation that logs everything as JSON, and the secrets that were used with it."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.url = f"http://127.0.0.1:{installation.port}"
        install = local_install.load(installation.data_dir)
        self.secrets = [install.secret_key, install.postgres_password, install.admin_password, SECRET_PASSWORD]

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"} | headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def log_in(self, password: str) -> None:
        cookies = CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
        login = f"{self.url}/admin/login/"
        browser.open(login, timeout=10).read()
        csrf = next(cookie.value or "" for cookie in cookies if cookie.name == "csrftoken")
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": csrf, "next": "/admin/"}
        browser.open(urllib.request.Request(login, urllib.parse.urlencode(form).encode()), timeout=10).read()
        self.secrets += [cookie.value for cookie in cookies if cookie.value and cookie.name == "sessionid"]

    def kill(self, name: str) -> None:
        """Kill the oldest process of that name, and wait until it is replaced."""
        [victim, *_] = self.installation.pids(name)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: set(self.installation.pids(name)) - {victim}, within_s=30, what=f"{name} is back")
        wait_until(self.installation.is_ready, within_s=30, what="ready again")

    def lines(self) -> list[dict[str, Any]]:
        text = self.installation.output.read_text()
        wrong = []
        found = []
        for line in text.splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                wrong.append(line)
        assert wrong == []
        return found

    def has_line(self, **values: Any) -> bool:
        return any(line.items() >= values.items() for line in self.lines())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    installation = Installation(tmp_path_factory.mktemp("logs"))
    installation.environment |= {"LOG_JSON": "true", "LOG_LEVEL": "DEBUG"}
    installation.ensure_up()
    yield Run(installation)
    assert installation.up is not None
    installation.up.terminate()
    assert installation.up.wait(30) == 0


def test_an_order_is_followed_from_its_request_through_every_process(run: Run) -> None:
    status, headers, body = run.ask("/orders", ORDER, **{"X-Request-ID": "trace-4711"})
    assert status == 202
    assert headers["x-request-id"] == "trace-4711"
    order_id = json.loads(body)["id"]

    assert run.has_line(event="answered", request_id="trace-4711", status=202, path="/orders")
    assert run.has_line(event="order_event", request_id="trace-4711", order_id=order_id, type="accepted")
    # By a worker, and by the update consumer, which know the order and no request.
    wait_until(lambda: run.has_line(event="order_event", order_id=order_id, type="placed"), within_s=30, what="it is placed")
    wait_until(lambda: run.has_line(event="order_event", order_id=order_id, type="filled"), within_s=30, what="it is filled")
    run.ask(f"/orders/{order_id}", **{"X-Request-ID": "trace-4712"})
    assert run.has_line(event="answered", request_id="trace-4712", order_id=order_id, status=200)


def test_an_id_that_could_forge_a_line_is_replaced(run: Run) -> None:
    _, headers, _ = run.ask("/orders", **{"X-Request-ID": 'x" "event": "y'})
    assert logs.request_id(headers["x-request-id"]) == headers["x-request-id"]
    assert run.has_line(event="answered", request_id=headers["x-request-id"], path="/orders")


def test_no_secret_is_in_any_line_and_every_line_is_json_while_processes_are_killed(run: Run) -> None:
    token = subprocess.run(
        [sys.executable, "manage.py", "create_token", "demo"],
        cwd=CHECKOUT,
        env=run.installation.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[-1]
    run.secrets.append(token)
    assert run.ask("/orders", ORDER, Authorization=f"Token {token}")[0] == 202
    assert run.ask("/orders", ORDER, Authorization=f"Token {token}x")[0] == 401
    run.log_in(SECRET_PASSWORD)
    run.log_in(local_install.load(run.installation.data_dir).admin_password)
    live = f"http://127.0.0.1:{run.installation.environment['NOTIFICATIONS_PORT']}/ws/orders"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(live, headers={"Authorization": f"Token {token}"}), timeout=5)
    # PostgreSQL comes last: of a child of the cluster that fails then, Python itself tells in many lines.
    for name in ("run_update_consumer", "qcluster", "granian", "postgres -D"):
        if name == "postgres -D":
            loggers = {line["logger"] for line in run.lines()}
        run.kill(name)
    assert run.ask("/orders", ORDER)[0] == 202
    with psycopg.connect(local_install.load(run.installation.data_dir).postgres_url) as database:
        run.secrets += [key for (key,) in database.execute("SELECT session_key FROM django_session")]
        run.secrets += [hashed for (hashed,) in database.execute("SELECT digest FROM knox_authtoken")]

    assert {"lemon_market.middleware", "orders.storage", "supervisor"} <= loggers
    assert len(run.secrets) >= 7
    text = run.installation.output.read_text()
    assert [secret for secret in run.secrets if secret in text] == []


def test_granian_own_process_writes_json_too() -> None:
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--log-config", "infrastructure/granian-json-logs.json"]
    done = subprocess.run(
        [*command, "--port", "0", "lemon_market.no_such_module:application"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ | {"LOG_JSON": "true"},
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert any(json.loads(line)["logger"] == "_granian" for line in lines if line.startswith("{"))
