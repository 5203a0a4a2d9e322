"""What real processes log at the most talkative level, while requests go right and wrong and the database comes and goes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from devstack import local_install
from devstack.free_ports import free_port
from testsupport.raw_websocket import RawClient
from testsupport.waiting import wait_until
from testsupport.web_process import CHECKOUT, ORDER, WebProcess

WRONG_PASSWORD = "Wr0ng-but-nearly-right"
WRONG_TOKEN = "b0" * 32
COMMANDS = [["run_sweep"], ["run_update_consumer"], ["qcluster"], ["create_token", "admin"], ["migrate", "--check"]]


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[WebProcess]:
    web = WebProcess(tmp_path, LOG_LEVEL="DEBUG", FAILED_LOGINS_PER_MINUTE="4", EXCHANGE_URL="http://127.0.0.1:1")
    yield web
    web.stop()


def ask_in_every_way(web: WebProcess) -> None:
    session, right, wrong = f"sessionid={web.session}", f"Token {web.token}", f"Token {WRONG_TOKEN}"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert web.order().status in {202, 429, 503}
    web.ask("GET", f"/orders?token={web.token}", Authorization=right)
    web.ask("GET", f"/nowhere/{web.token}?{web.session}", Authorization=right, Cookie=session)
    web.ask("POST", "/orders", ORDER, Cookie=session)
    web.ask("GET", "/admin/", Cookie=session)
    # The last of them finds the address locked.
    for _ in range(5):
        web.ask("GET", "/orders", Authorization=wrong)
        web.ask("POST", f"/login?{urlencode({'username': 'admin', 'password': WRONG_PASSWORD})}", None, Cookie=session, **form)


def test_neither_tokens_nor_passwords_nor_sessions_nor_keys_are_logged(talkative: WebProcess, tmp_path: Path) -> None:
    web, port = talkative, free_port()
    environment = web.environment | {"NOTIFICATIONS_PORT": str(port), "DATA_DIR": str(tmp_path / "other")}
    said = tmp_path / "said"
    with said.open("wb") as output:
        started = [
            subprocess.Popen(
                [sys.executable, "manage.py", *command], cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL, stderr=output
            )
            for command in [["run_notification_service", "--port", str(port)], *COMMANDS]
        ]
        try:
            wait_until(lambda: is_live(port), within_s=90, what="the notification service answers")
            for token in (web.token, WRONG_TOKEN):
                with RawClient(port, token, f"/ws/orders?token={token}") as client:
                    # Who it is, is found out afterwards.
                    assert client.status == 101
            ask_in_every_way(web)
            web.kill_postgres()
            ask_in_every_way(web)
            wait_until(lambda: said.read_text().count("database_unavailable"), within_s=60, what="the others have noticed")
            web.start_postgres()
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(20)
    logged = web.output.read_text() + said.read_text()
    assert "database_unavailable" in web.output.read_text()
    assert "login" in logged
    install = local_install.load(web.data_dir)
    secrets = [web.token, WRONG_TOKEN, web.session, WRONG_PASSWORD, install.postgres_password, os.environ["SECRET_KEY"]]
    for secret in secrets:
        assert secret not in logged
        # A part of it is as good, but for the first characters of a token, which the back office shows too.
        assert secret[15:] not in logged


def is_live(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health/live", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
