import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from django.utils import timezone

from notifications.tests.order_changes import accept, change, place
from notifications.tests.talking import CHECKOUT, PATIENCE_S, ServiceProcess
from notifications.watching import WatchError, service_address
from notifications.watching import watch as watch_orders
from orders import lifecycle
from testsupport.waiting import wait_until

NOT_WANTED = [
    (False, "ws/orders", None, r"\(4401\)"),
    (True, "ws/orders", "never", r"\(4404\)"),
    (True, "ws/orders?x=y", None, r"\(4400\)"),
    (True, "elsewhere", None, r"\(4404\)"),
]


class Watcher:
    """`manage.py watch_orders`, without a database."""

    def __init__(self, directory, service: ServiceProcess, *options: str, **environment: str) -> None:
        self.out, self.err = directory / "out", directory / "err"
        # Nothing listens there.
        environment = service.environment | {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing"} | environment
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "watch_orders", "--url", service.url.removesuffix("/ws/orders"), *options],
                cwd=CHECKOUT,
                env=environment,
                stdout=out,
                stderr=err,
            )

    def lines(self, count: int) -> list[list[str]]:
        """Wait for so many lines, as words."""
        wait_until(lambda: self.out.read_text().count("\n") >= count, within_s=15, what=f"{count} lines; {self.err.read_text()}")
        return [line.split() for line in self.out.read_text().splitlines()]

    def says(self, what: str) -> None:
        wait_until(lambda: what in self.err.read_text(), within_s=15, what=what)

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def watch(tmp_path) -> Iterator[Callable[..., Watcher]]:
    watchers = []

    def start(*arguments, **environment) -> Watcher:
        watchers.append(Watcher(tmp_path, *arguments, **environment))
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.process.kill()
        watcher.process.wait()


def test_each_event_is_a_line_until_it_is_told_to_stop(service, watch, anna, token):
    watcher = watch(service, "--token", token)
    watcher.says("connected as anna")
    [order] = accept(anna, client_order_id="mine")
    watcher.lines(1)
    change(order, lifecycle.refused, "no \x1b[31m", timezone.now())
    [accepted, failed] = watcher.lines(2)
    assert accepted[1:] == ["accepted", str(order.id), "mine", "pending"]
    assert failed[1:6] == ["failed", str(order.id), "mine", "failed", "refused_by_exchange:"]
    assert failed[-2:] == ["no", "?[31m"]
    watcher.process.send_signal(signal.SIGINT)
    assert watcher.exit_code() == 0
    assert watcher.err.read_text() == "connected as anna\n"


def test_it_comes_back_after_a_service_that_was_killed(mortal_service, watch, anna, token):
    watcher = watch(mortal_service, "--json", LEMON_MARKET_TOKEN=token)
    watcher.says("connected as anna")
    [order] = accept(anna)
    watcher.lines(1)
    mortal_service.stop(signal.SIGKILL)
    watcher.says("connecting again in")
    place(order)
    mortal_service.start()
    watcher.lines(2)
    assert [json.loads(line)["type"] for line in watcher.out.read_text().splitlines()] == ["accepted", "placed"]
    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.exit_code() == 0


def test_it_gives_up_when_it_is_not_wanted(service, watch, token):
    watcher = watch(service, "--account-less", LEMON_MARKET_TOKEN=token)
    assert watcher.exit_code() == 1
    [line] = watcher.err.read_text().splitlines()
    assert "(4401)" in line


def test_what_is_not_worth_another_try(service, token):
    for token_is_right, path, after, answer in NOT_WANTED:
        url = service.url.replace("ws/orders", path)
        with pytest.raises(WatchError, match=answer):
            asyncio.run(watch_orders(url, token if token_is_right else "wrong", after, show=print, tell=print))


def test_only_an_address_is_an_address():
    for url in ("nonsense", "ftp://localhost", "ws://", "ws://localhost:port", "ws://[", ""):
        with pytest.raises(WatchError, match="not an address"):
            service_address(url)
    for url in ("ws://here:1", "ws://here:1/", "ws://here:1/ws/orders"):
        assert str(service_address(url)) == "ws://here:1/ws/orders"


def test_it_stops_quietly_when_nobody_reads_any_more(service, anna, token):
    command = [sys.executable, "manage.py", "watch_orders", "--url", service.url, "--after", "beginning"]
    accept(anna)
    environment = service.environment | {"LEMON_MARKET_TOKEN": token}
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr.read() == b"connected as anna\n"
