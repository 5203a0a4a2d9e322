"""Web workers that find no room on the disk, find the files of others, or end: the web goes on, and counts stay right."""

from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from time import time
from typing import Any

import psutil
import pytest
from django.conf import settings
from prometheus_client import CollectorRegistry, Histogram, values
from prometheus_client.mmap_dict import MmapedDict

from infrastructure import instrumentation, shared_counts
from testsupport.small_disk import fill, mounted_small_disk
from testsupport.waiting import wait_until
from testsupport.web_process import WebProcess, WebServer

ORDERS = 40
# Granian's own 5.5 s, and the start of a worker.
CRASH_LOOP_S = 8.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_small_disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def start(web: WebProcess, tmp_path: Path) -> Iterator[Any]:
    """Starts a server of its own in a `data_dir`, with the database of `web`."""
    started: list[WebServer] = []

    def start(data_dir: Path) -> WebServer:
        server = WebServer(tmp_path / "output", web.environment | {"DATA_DIR": str(data_dir), "SECRET_KEY": "x" * 60})
        started.append(server)
        server.wait_until_ready()
        return server

    yield start
    for server in started:
        server.stop()


def counted(server: WebServer) -> float:
    lines = server.ask("GET", "/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("lemon_market_accept_seconds_count"))


def is_past(moment_s: float) -> bool:
    return time() > moment_s


def place_orders(server: WebServer, count: int = ORDERS) -> set[int]:
    return {server.ask("POST", "/orders", {"side": "up"}).status for _ in range(count)}


def workers(server: WebServer) -> set[psutil.Process]:
    """All of them, once all of them listen."""

    def listening() -> set[psutil.Process] | None:
        found = set()
        for child in psutil.Process(server.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if any(end.status == "LISTEN" for end in child.net_connections("tcp")):
                    found.add(child)
        return found if len(found) == settings.WEB_PROCESSES else None

    found = wait_until(listening, what="all workers listen")
    assert found is not None
    return found


def test_a_disk_that_is_full_from_the_beginning_keeps_nobody_from_serving(small_disk: Path, start: Any) -> None:
    fill(small_disk)
    server = start(small_disk)
    assert place_orders(server) == {400}
    assert counted(server) == 0
    # The second may be later than the first, which serves already.
    wait_until(
        lambda: server.output.read_text().count("requests_not_counted") == settings.WEB_PROCESSES, what="each says so, once"
    )


def test_a_disk_that_fills_up_ends_nobody_and_counting_goes_on(small_disk: Path, start: Any) -> None:
    server = start(small_disk)
    serving = workers(server)
    fill(small_disk)
    for _ in range(ORDERS):
        # Each new kind of answer takes room.
        assert server.ask("POST", "/orders", {"side": "up"}).status == 400
        assert server.ask("POST", "/orders/batch", {"side": "up"}).status == 400
        assert server.ask("POST", "/orders", "{}", Authorization="Token x").status == 401
        assert server.ask("POST", "/orders", "x", **{"Content-Type": "text/plain"}).status == 415
    assert workers(server) == serving
    assert counted(server) == 4 * ORDERS


def test_there_is_room_for_every_answer_that_there_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda: 1))
    ours = instrumentation.acceptance
    buckets = [bound for bound in ours._upper_bounds if bound != float("inf")]
    histogram = Histogram(ours._name, ours._documentation, ours._labelnames, buckets=buckets, registry=CollectorRegistry())
    for call in instrumentation.ACCEPTING.values():
        for status in HTTPStatus:
            histogram.labels(call, status.value).observe(1)
    [path] = tmp_path.iterdir()
    with closing(MmapedDict(str(path), read_mode=True)) as counts:
        assert counts._used <= shared_counts.ROOM_BYTES


def test_strangers_files_are_left_alone(start: Any, tmp_path: Path) -> None:
    counts = tmp_path / "data" / "counts"
    for name in ("x", "x.db", "²", "9" * 40):
        (counts / name).parent.mkdir(parents=True, exist_ok=True)
        (counts / name).touch()
    of_ended = counts / "99999999"
    of_ended.mkdir()
    server = start(tmp_path / "data")
    [own] = [path for path in counts.iterdir() if path.is_dir()]
    assert own.name == str(server.process.pid)
    for name in ("x.db", "histogram_x.db", "histogram_7.db"):
        (own / name).touch()
    place_orders(server)
    assert counted(server) == ORDERS
    assert (counts / "x").exists()


def test_a_worker_that_is_killed_is_replaced_while_others_serve_and_what_it_counted_stays(start: Any, tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    for number in range(1, 3):
        before = workers(server)
        place_orders(server)
        killed = before.pop()
        # Granian takes one that ends sooner for one that cannot start, and ends itself, for its supervisor to begin anew.
        can_serve_from = killed.create_time() + CRASH_LOOP_S
        wait_until(partial(is_past, can_serve_from), what="it has run for long enough")
        killed.kill()
        killed.wait(10)
        assert [server.ask("GET", "/health/live").status for _ in range(20)] == [200] * 20
        assert before < workers(server)
        assert counted(server) == number * ORDERS
    files = list((tmp_path / "data" / "counts" / str(server.process.pid)).iterdir())
    assert len(files) == settings.WEB_PROCESSES
