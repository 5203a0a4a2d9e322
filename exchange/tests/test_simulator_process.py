"""The simulated exchange as a process: its start, its end, and what may be asked of it while it runs."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import aiohttp
import psutil
import pytest

from exchange.feed import ExecutionFeed
from exchange.gateway import Acknowledged, Refused, Unavailable, Unknown
from exchange.reports import ReportType
from exchange.simulator.faults import Faults
from exchange.tests.scenery import ask, make_placement, next_report, open_http_gateway
from testsupport.simulator_process import REPOSITORY, SimulatorError

pytestmark = pytest.mark.simulator(shared=True)


def run_simulator(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exchange.simulator", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def placement_text(client_order_id: str) -> str:
    return json.dumps(asdict(make_placement(client_order_id=client_order_id)), default=str)


def test_a_taken_port_is_one_line_and_exit_code_1(start_simulator, tmp_path):
    simulator = start_simulator()
    ended = run_simulator(f"--port={simulator.port}", f"--data-dir={tmp_path / 'another'}")
    assert ended.returncode == 1
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert str(simulator.port) in line
    assert "in use" in line


def test_a_data_directory_in_use_is_one_line_and_exit_code_1(start_simulator):
    simulator = start_simulator()
    ended = run_simulator("--port=0", f"--data-dir={simulator.data_dir}")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "another exchange simulator" in line


@pytest.mark.parametrize(
    "argument",
    ["--cut-rate=1.5", "--latency=-1", "--delay=nan", "--unavailable-rate=often", "--port=x", "--port=70000", "--retention=0"],
)
def test_a_wrong_argument_is_named(argument, tmp_path):
    ended = run_simulator(f"--data-dir={tmp_path}", argument)
    assert ended.returncode in (1, 2)
    assert argument.split("=")[1] in ended.stderr or argument.split("=")[0] in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_soon_with_everything_open(start_simulator, number):
    simulator = start_simulator()
    async with ExecutionFeed(simulator.url) as feed, open_http_gateway(simulator.url, timeout_s=10) as gateway:
        await feed.next_batch()
        placement = make_placement(instrument="TIMEOUT_____")
        hanging = asyncio.create_task(gateway.place(placement))
        await next_report(simulator.url, placement.client_order_id, ReportType.NEW)
        process = simulator._running()
        os.kill(simulator.pid, number)
        assert await asyncio.to_thread(process.wait, 5) == 0
        assert isinstance(await hanging, Unknown)


def test_it_ends_with_the_process_that_started_it(start_simulator):
    simulator = start_simulator()
    process = simulator._running()
    process.stdin.close()
    assert process.wait(5) == 0


async def test_a_hanging_placement_is_given_up_with_its_sender(start_simulator):
    simulator = start_simulator()
    # Long enough for a busy machine to connect: a call that does not get that far would be Unavailable.
    async with open_http_gateway(simulator.url, timeout_s=3) as gateway:
        assert isinstance(await gateway.place(make_placement(instrument="TIMEOUT_____")), Unknown)
    simulator_process = psutil.Process(simulator.pid)
    async with asyncio.timeout(10):
        while any(one.status == psutil.CONN_ESTABLISHED for one in simulator_process.net_connections()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_the_defaults_are_those_of_the_challenge():
    faults = Faults()
    assert (faults.latency, faults.unavailable_rate) == (0.5, 0.1)
    assert faults.refuse_rate == faults.cut_rate == faults.timeout_rate == faults.repeat_rate == faults.delay == 0


def test_options_change_while_it_runs(start_simulator):
    simulator = start_simulator(latency=0.25)
    assert ask(simulator, "GET", "/control")[1]["latency"] == 0.25
    changed = simulator.control(unavailable_rate=1, delay=0.5)
    assert (changed["latency"], changed["unavailable_rate"], changed["delay"]) == (0.25, 1, 0.5)
    assert ask(simulator, "GET", "/control") == (200, changed)


def test_a_closed_exchange_takes_nothing_and_shows_nothing_until_it_opens(start_simulator):
    simulator = start_simulator()
    known, new = (placement_text(name) for name in ("known", "new"))
    assert ask(simulator, "POST", "/orders", known)[0] == 201
    simulator.control(close=True)
    assert ask(simulator, "POST", "/orders", new) == (
        503,
        {"placed": False, "client_order_id": "new", "reason": "the exchange is closed"},
    )
    with pytest.raises((http.client.BadStatusLine, ConnectionError)):
        ask(simulator, "POST", "/orders", known)
    for method, path in (("GET", "/orders/known"), ("DELETE", "/orders/known"), ("GET", "/executions")):
        assert ask(simulator, method, path)[0] == 503
    assert set(simulator.book()) == {"known"}
    simulator.control(open=True)
    assert ask(simulator, "POST", "/orders", known)[0] == 200
    assert ask(simulator, "POST", "/orders", new)[0] == 201


@pytest.mark.parametrize(
    ("wishes", "named"),
    [
        ('{"latency": -1}', "latency"),
        ('{"latency": 3601}', "latency"),
        ('{"delay": "1"}', "delay"),
        ('{"cut_rate": 1.01}', "cut_rate"),
        ('{"cut_rate": true}', "cut_rate"),
        ('{"cut_rate": null}', "cut_rate"),
        ('{"refuse_rate": 0.5, "refuse_rat": 0.5}', "refuse_rat"),
        ('{"port": 1}', "port"),
        ('{"cut_feed": 1}', "cut_feed"),
        ('{"new_session": "yes"}', "new_session"),
        ('{"timeout_rate": NaN}', "not JSON"),
        ("[]", "not a JSON object"),
        ("", "not JSON"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_changes(simulator, wishes, named):
    before = ask(simulator, "GET", "/control")
    status, document = ask(simulator, "POST", "/control", wishes)
    assert status == 400
    assert document["reason"].startswith(named)
    assert ask(simulator, "GET", "/control") == before


@pytest.mark.parametrize("path", ["/control", "/book"])
@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:8100"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_a_page_from_elsewhere_can_neither_see_nor_change_anything(simulator, path, headers):
    assert ask(simulator, "GET", path, **headers)[0] == 403
    if path == "/control":
        assert ask(simulator, "POST", path, '{"cut_rate": 1}', **headers)[0] == 403
        assert ask(simulator, "GET", path)[1]["cut_rate"] == 0


@pytest.mark.parametrize("host", ["localhost:8100", "127.0.0.1", "[::1]:8100", "127.8.8.8"])
def test_every_name_of_this_computer_may_ask(simulator, host):
    assert ask(simulator, "GET", "/control", Host=host)[0] == 200


def test_it_listens_on_this_computer_only(simulator):
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.2", simulator.port), timeout=5):
        pass


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 20, "٣"])
async def test_a_feed_position_that_is_no_number_is_refused(simulator, after):
    url = simulator.url + "/executions"
    async with aiohttp.ClientSession() as session, session.get(url, params={"after": after}) as response:
        assert response.status == 400
        assert "after" in (await response.json())["reason"]


@pytest.mark.parametrize(
    ("option", "outcome", "is_taken"),
    [
        ("unavailable_rate", Unavailable, False),
        ("refuse_rate", Refused, False),
        ("timeout_rate", Unknown, True),
    ],
)
async def test_a_rate_of_one_is_every_placement_but_those_of_magic_instruments(start_simulator, option, outcome, is_taken):
    simulator = start_simulator(**{option: 1})
    placements, magic = [make_placement() for _ in range(5)], make_placement(instrument="NEVERFILL___")
    async with open_http_gateway(simulator.url, timeout_s=0.5) as gateway:
        outcomes = await asyncio.gather(*map(gateway.place, placements))
        assert isinstance(await gateway.place(magic), Acknowledged)
    assert {type(one) for one in outcomes} == {outcome}
    assert len(simulator.book()) == 1 + 5 * is_taken


async def test_rates_are_shares_and_the_book_agrees_with_every_answer(start_simulator):
    simulator = start_simulator(unavailable_rate=0.2, refuse_rate=0.2, cut_rate=0.2, latency=0.01, early_report_rate=0.2)
    placements = {one.client_order_id: one for one in (make_placement() for _ in range(300))}
    async with open_http_gateway(simulator.url, timeout_s=30, max_connections=30) as gateway:
        outcomes = dict(zip(placements, await asyncio.gather(*map(gateway.place, placements.values())), strict=True))
    book = simulator.book()
    for kind, share in ((Unavailable, 0.2), (Refused, 0.2), (Unknown, 0.2), (Acknowledged, 0.4)):
        assert abs(sum(isinstance(one, kind) for one in outcomes.values()) / 300 - share) < 0.08
    for name, outcome in outcomes.items():
        if isinstance(outcome, Acknowledged):
            assert book[name]["exchange_order_id"] == outcome.exchange_order_id
        elif isinstance(outcome, Unavailable | Refused):
            assert name not in book


async def test_an_order_taken_in_time_is_acknowledged_after_valid_until(start_simulator):
    simulator = start_simulator(latency=1)
    placement = make_placement(valid_until=datetime.now(UTC) + timedelta(seconds=0.8))
    async with open_http_gateway(simulator.url) as gateway:
        assert isinstance(await gateway.place(placement), Acknowledged)
    assert datetime.now(UTC) > placement.valid_until


async def test_a_repeat_during_faults_is_never_called_not_taken(start_simulator):
    simulator, placement = start_simulator(), make_placement()
    async with open_http_gateway(simulator.url) as gateway:
        first = await gateway.place(placement)
        simulator.control(unavailable_rate=0.5, refuse_rate=0.5)
        assert [await gateway.place(placement) for _ in range(5)] == [first] * 5
    assert simulator.book()[placement.client_order_id]["times_received"] == 6


async def test_a_large_book_is_streamed_whole(start_simulator):
    simulator = start_simulator()
    placements = [make_placement(instrument="NEVERFILL___") for _ in range(1200)]
    async with open_http_gateway(simulator.url, timeout_s=30, max_connections=30) as gateway:
        await asyncio.gather(*map(gateway.place, placements))
    assert set(simulator.book()) == {one.client_order_id for one in placements}
    assert simulator.health()["orders"] == 1200


def test_the_helper_tells_when_it_is_used_in_the_wrong_order(start_simulator):
    simulator = start_simulator()
    with pytest.raises(SimulatorError, match="runs already"):
        simulator.start()
    simulator.stop()
    with pytest.raises(SimulatorError, match="does not run"):
        simulator.kill()
