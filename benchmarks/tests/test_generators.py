"""The load generators send and count correctly, without which no figure would mean anything."""

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psutil
import pytest

from benchmarks.children import BenchmarkError, Children
from benchmarks.feed_replay import Replay
from benchmarks.websocket_clients import Client, Counter
from exchange.reports import ExecutionReport, ReportType, parse_frame
from exchange.simulator.report_log import text_frame

ORDERS = [("id-0", "theirs-0", "7"), ("id-1", "theirs-1", "8")]


def payload(frame: bytes) -> bytes:
    assert frame[:2] == b"\x81\x7e", "a final text frame with a length of two bytes"
    assert len(frame) == 4 + int.from_bytes(frame[2:4])
    return frame[4:]


def test_a_replayed_report_is_one_more_unit_of_the_next_order() -> None:
    reports = [parse_frame(payload(Replay(ORDERS, 0).frame(sequence, "2030-01-31T15:30:00.000001Z"))) for sequence in (1, 2, 3)]
    told = [
        (report.sequence, report.client_order_id, report.exchange_order_id, report.account, report.filled_quantity, report.type)
        for report in reports
        if isinstance(report, ExecutionReport)
    ]
    assert told == [
        (1, "id-0", "theirs-0", "7", 1, ReportType.PARTIALLY_FILLED),
        (2, "id-1", "theirs-1", "8", 1, ReportType.PARTIALLY_FILLED),
        (3, "id-0", "theirs-0", "7", 2, ReportType.PARTIALLY_FILLED),
    ]
    assert all(isinstance(report, ExecutionReport) and report.average_price == Decimal(10) for report in reports)


def test_a_client_counts_messages_however_they_are_cut() -> None:
    occurred_at = datetime.fromtimestamp(time.time() - 2, UTC).isoformat().replace("+00:00", "Z")
    messages = [f'{{"event_id":"{"x" * size}","occurred_at":"{occurred_at}"}}'.encode() for size in (1, 200, 70_000)]
    heartbeat = b'{"type":"heartbeat"}'
    stream = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + b"".join(map(text_frame, [*messages, heartbeat, *messages]))
    counter = Counter()

    async def receive(piece: int) -> None:
        client = Client(counter, b"")
        for start in range(0, len(stream), piece):
            client.data_received(stream[start : start + piece])
        await client.connected

    asyncio.run(receive(1000))
    assert len(counter.ages_s) == 6
    assert all(2 <= age_s < 30 for age_s in counter.ages_s)
    asyncio.run(receive(7))
    assert counter.summary()["messages"] == 12


def test_children_leave_no_grandchildren(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        shell = children.start("shell", ["sh", "-c", "sleep 300 & echo $!; wait"], is_heard=True)
        assert shell.stdout is not None
        grandchild = psutil.Process(int(shell.stdout.readline()))
    # Raises when it does not end.
    grandchild.wait(5)
    assert shell.returncode is not None


def test_a_child_that_ends_is_noticed_while_something_is_waited_for(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start("broken", ["sh", "-c", "exit 3"])
        with pytest.raises(BenchmarkError, match="broken ended with exit code 3"):
            children.wait_until(lambda: False, "anything")
