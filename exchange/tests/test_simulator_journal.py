"""The simulated exchange's journal: what a crash at any moment leaves behind."""

import asyncio

import pytest

from exchange.gateway import Acknowledged, Found, NotFound
from exchange.simulator.book import Book, Change
from exchange.simulator.journal import Journal, JournalError
from exchange.tests.scenery import make_placement, open_http_gateway
from testsupport.simulator_process import SimulatorError

CHANGES: list[Change] = [
    ["session", "S1"],
    ["order", "order-1", 1.5, "Zoë", "limit", "buy", "AAPL_2025_03", 1050, 10],
    ["report", 0, "new", None, None, 2.0, None],
    ["report", 0, "partially_filled", 4, 1049, 2.5, None],
    ["repeat", 0],
    ["cancel", 0],
    ["report", 0, "canceled", None, None, 3.0, "as asked"],
]


@pytest.fixture
def written(tmp_path):
    journal = Journal(tmp_path)
    journal.append(CHANGES)
    journal.close()
    return tmp_path / "journal.jsonl"


def replayed(directory) -> list:
    changes: list = []
    journal = Journal(directory)
    try:
        journal.replay(changes.append)
    finally:
        journal.close()
    return changes


def test_what_was_written_is_replayed_in_order(written):
    assert replayed(written.parent) == CHANGES


def test_an_empty_journal_has_nothing_to_replay(tmp_path):
    assert replayed(tmp_path / "new" / "directory") == []


def test_a_journal_torn_anywhere_loses_only_its_last_line(written):
    content = written.read_bytes()
    for size in range(len(content)):
        written.write_bytes(content[:size])
        whole_lines = content[:size].count(b"\n")
        assert replayed(written.parent) == CHANGES[:whole_lines]
        assert written.read_bytes() == b"".join(content.splitlines(keepends=True)[:whole_lines])


def test_a_last_line_of_zeros_is_cut_off(written):
    content = written.read_bytes()
    written.write_bytes(content + b"\0" * 100 + b"\n")
    assert replayed(written.parent) == CHANGES
    assert written.read_bytes() == content


def test_writing_goes_on_behind_a_torn_line(written):
    written.write_bytes(written.read_bytes()[:-3])
    journal = Journal(written.parent)
    journal.replay(lambda _change: None)
    journal.append([["repeat", 0]])
    journal.close()
    assert replayed(written.parent) == [*CHANGES[:-1], ["repeat", 0]]


@pytest.mark.parametrize(
    "line", [b"what\n", b'["explosion", 1]\n', b'["report", 99, "new", null, null, 2.0, null]\n', b"[]\n", b"7\n"]
)
def test_a_bad_line_in_the_middle_is_an_error_that_names_it(written, line):
    lines = written.read_bytes().splitlines(keepends=True)
    written.write_bytes(b"".join([*lines[:3], line, *lines[3:]]))
    journal = Journal(written.parent)
    with pytest.raises(JournalError, match="line 4 cannot be read"):
        journal.replay(Book().apply)
    journal.close()
    assert len(written.read_bytes().splitlines()) == len(CHANGES) + 1


def test_two_simulators_cannot_share_a_journal(tmp_path):
    journal = Journal(tmp_path)
    with pytest.raises(JournalError, match="in use"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_simulator_with_a_broken_journal_says_so_in_one_line(start_simulator, capfd):
    simulator = start_simulator()
    simulator.kill()
    journal = simulator.data_dir / "journal.jsonl"
    journal.write_bytes(b"what\n" + journal.read_bytes())
    with pytest.raises(SimulatorError, match="exit code 1"):
        simulator.start()
    [line] = capfd.readouterr().err.splitlines()
    assert "line 1 cannot be read" in line


async def test_a_kill_in_the_middle_of_a_storm_loses_nothing_that_was_answered(start_simulator):
    simulator = start_simulator(latency=0.01, repeat_rate=0.1)
    placements = [make_placement() for _ in range(600)]
    async with open_http_gateway(simulator.url, max_connections=50) as gateway:
        answered = asyncio.Event()
        outcomes = {}

        async def place(placement):
            outcomes[placement.client_order_id] = await gateway.place(placement)
            if len(outcomes) == 200:
                answered.set()

        storm = asyncio.gather(*map(place, placements))
        await answered.wait()
        simulator.kill()
        await storm
        simulator.start()
        looked_up = {one.client_order_id: await gateway.look_up(one) for one in placements}
    acknowledged = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Acknowledged)}
    assert 200 <= len(acknowledged) < 600
    for name, outcome in acknowledged.items():
        found = looked_up[name]
        assert isinstance(found, Found)
        assert found.exchange_order_id == outcome.exchange_order_id
    assert {type(outcome) for outcome in looked_up.values()} == {Found, NotFound}
