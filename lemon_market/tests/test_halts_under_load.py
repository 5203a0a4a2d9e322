"""Trading is halted while clients post and workers send: once that is confirmed, the exchange takes nothing that is covered."""

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any
from urllib.error import HTTPError

import psutil
import pytest

from testsupport.installation import CHECKOUT
from testsupport.system import System, running_system
from testsupport.transport_plugin import BOTH
from testsupport.waiting import wait_until

ACCOUNTS = ["demo", "bert"]
INSTRUMENTS = ["AAPL_2025_03", "TSLA_2025_06"]
# Due when a halt begins, of each account and instrument.
BACKLOG = 100
# Requests of each client that are waited for after a confirmation.
AFTERWARDS = 20
# Of each client between two orders: what is tried is halts under load, and not how much load there can be.
PAUSE_S = 0.05
WORKERS = {"django_q": "qcluster", "kafka": "run_exchange_consumer"}
# A little shorter than usual: stopped workers delay a confirmation for so long.
LEASE = {"EXCHANGE_TIMEOUT": "3", "PLACEMENT_LEASE": "10"}
SCOPES = [[], ["--account", "bert"], ["--instrument", "TSLA_2025_06"]]


@dataclass(frozen=True)
class Answer:
    account: str
    instrument: str
    status: int
    body: Any


class Clients:
    """One for each account and instrument, each posting one order after the other."""

    def __init__(self, system: System) -> None:
        self.url = f"http://127.0.0.1:{system.installation.port}/orders"
        self.tokens = {name: token(system, name) for name in ACCOUNTS}
        self.answers: list[Answer] = []
        self.stopping = threading.Event()
        self.posting: list[Future[None]] = []

    def post(self, account: str, instrument: str, *, count: int | None = None) -> Answer:
        order = {"type": "market", "side": "buy", "quantity": 10, "instrument": instrument}
        url, body = (self.url, order) if count is None else (f"{self.url}/batch", [order] * count)
        headers = {"Content-Type": "application/json", "Authorization": f"Token {self.tokens[account]}"}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30) as answer:
                return Answer(account, instrument, answer.status, json.load(answer))
        except HTTPError as error:
            if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return Answer(account, instrument, error.code, json.load(error))

    def keep_posting(self, account: str, instrument: str) -> None:
        while not self.stopping.wait(PAUSE_S):
            # On a busy machine one may take too long, which is no answer.
            with suppress(OSError):
                self.answers.append(self.post(account, instrument))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with ThreadPoolExecutor(4) as pool:
            self.posting = [
                pool.submit(self.keep_posting, account, instrument) for account in ACCOUNTS for instrument in INSTRUMENTS
            ]
            try:
                yield
            finally:
                self.stopping.set()
            for one in self.posting:
                one.result()

    def next_answers(self) -> list[Answer]:
        """From each client so many as were asked for after now."""
        start = len(self.answers)

        def each_has_enough() -> bool:
            assert not any(one.done() for one in self.posting), [one.exception() for one in self.posting if one.done()]
            came = [(answer.account, answer.instrument) for answer in self.answers[start:]]
            return all(came.count((account, instrument)) > AFTERWARDS for account in ACCOUNTS for instrument in INSTRUMENTS)

        wait_until(each_has_enough, within_s=120, what="the clients go on")
        # One request of each may have been on its way.
        return self.answers[start + len(ACCOUNTS) * len(INSTRUMENTS) :]

    def fill_the_queue(self) -> None:
        for account in ACCOUNTS:
            for instrument in INSTRUMENTS:
                assert self.post(account, instrument, count=BACKLOG).status == 202


def token(system: System, name: str) -> str:
    return manage(system, "create_token", name).strip()


def manage(system: System, *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    environment = system.installation.environment
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(params=BOTH)
def system(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    with running_system(tmp_path, request.param, **LEASE) as system:
        yield system


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_after_a_confirmation_nothing_that_is_halted_is_accepted_or_reaches_the_exchange(system: System) -> None:
    system.query(
        "INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, last_name, email, date_joined)"
        " VALUES ('bert', '!', false, false, true, '', '', '', now()) RETURNING id"
    )
    clients = Clients(system)
    with clients.at_work():
        for scope in SCOPES:
            clients.fill_the_queue()
            assert "confirmed: nothing is under way" in manage(system, "halt_trading", "--reason", "trial", *scope)
            assert_holds(system, clients)
            manage(system, "resume_trading", "--reason", "trial", *scope)
        clients.fill_the_queue()
        with stopped_workers(system):
            assert "confirmed: nothing is under way" in manage(system, "halt_trading", "--reason", "trial")
        wait_until(lambda: nothing_moves(system), within_s=60, what="what the workers held is looked up, and held")
        assert_holds(system, clients)
    manage(system, "resume_trading", "--reason", "trial")
    wait_until(lambda: nothing_is_held(system) and system.is_settled(), within_s=120, what="every order is settled")
    orders = system.query("SELECT id, status FROM orders_order")
    assert {order["status"] for order in orders} == {"completed"}
    assert {str(order["id"]) for order in orders} == system.book().keys()


@contextmanager
def stopped_workers(system: System) -> Iterator[None]:
    """In the middle of sending, and the sweep with them, which would replace them; the command confirms without it."""
    names = ["run_sweep", WORKERS[system.transport]]
    workers = [psutil.Process(pid) for name in names for pid in system.installation.pids(name)]

    def are_stopped() -> bool:
        """Not in the middle of a transaction: for the end of that one a halt would wait, however long it takes."""
        signal_all(workers, SIGSTOP)
        open_ones = system.query(
            "SELECT FROM pg_stat_activity WHERE xact_start IS NOT NULL AND application_name IN"
            f" ('lemon_market run_sweep', 'lemon_market {WORKERS[system.transport]}')"
        )
        if open_ones:
            signal_all(workers, SIGCONT)
        return not open_ones

    try:
        wait_until(are_stopped, within_s=60, what="the workers are stopped between two transactions")
        yield
    finally:
        signal_all(workers, SIGCONT)


def signal_all(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        process.send_signal(number)


def nothing_moves(system: System) -> bool:
    [row] = system.query("SELECT count(*) FROM orders_order WHERE status = 'pending' AND held_at IS NULL")
    return bool(row["count"] == 0)


def nothing_is_held(system: System) -> bool:
    [row] = system.query("SELECT count(*) FROM orders_order WHERE held_at IS NOT NULL")
    return bool(row["count"] == 0)


def assert_holds(system: System, clients: Clients) -> None:
    """Of the halt in force; and that nothing else is held up."""
    [halt] = system.query(
        "SELECT username, instrument, confirmed_at FROM orders_halt LEFT JOIN auth_user ON auth_user.id = account_id"
        " WHERE ended_at IS NULL"
    )

    def is_covered(account: str, instrument: str) -> bool:
        return halt["username"] in (None, account) and halt["instrument"] in (None, instrument)

    for answer in clients.next_answers():
        if is_covered(answer.account, answer.instrument):
            assert answer.status == 422
            assert answer.body["confirmed_at"] is not None
        else:
            assert answer.status == 202
    later = system.query(
        "SELECT o.id, username, instrument FROM orders_order AS o JOIN auth_user ON auth_user.id = account_id"
        f" WHERE created_at > '{halt['confirmed_at'].isoformat()}'"
    )
    assert not [order for order in later if is_covered(order["username"], order["instrument"])], "accepted"
    names = {str(row["id"]): row["username"] for row in system.query("SELECT id, username FROM auth_user")}
    is_for_all = halt["username"] is None and halt["instrument"] is None

    def received() -> list[dict[str, Any]]:
        return [order for order in system.book().values() if order["received_at"] > halt["confirmed_at"].timestamp()]

    if not is_for_all:
        assert later, "others are accepted"
        wait_until(received, within_s=120, what="others are sent")
    assert not [order for order in received() if is_covered(names[order["account"]], order["instrument"])], "sent"
