"""What /metrics tells, from one web process and from several."""

import math
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from devstack import local_install
from devstack.free_ports import free_port
from infrastructure.database.errors import DatabaseUnavailable
from lemon_market.backup_directory import NAME
from orders.event_data import RetryingData
from orders.executions.feed_connection import save_connection
from orders.executions.feed_positions import move_position
from orders.models import DeadLetter, Order, PlacementWorker, new_event
from orders.order_entry.service import NewOrder, accept_orders
from testsupport.installation import CHECKOUT
from testsupport.waiting import wait_until
from testsupport.web_process import WebProcess


def read(text: str) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("lemon_market_"): float(value) for name, value in lines}


@pytest.fixture
def scrape(client: Client, transactional_db: None) -> Any:
    return lambda: read(client.get("/metrics").content.decode())


def test_the_state_of_the_queue_the_feed_and_the_desk_is_read_from_the_database(scrape: Any, django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("anna")
    [order] = accept_orders(user.pk, [NewOrder("market", "buy", "AAPL_2025_03", 1)]).orders
    Order.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=30))
    new_event(
        order,
        timezone.now(),
        RetryingData(error_code="exchange_unavailable", error_message="busy", next_attempt_at=timezone.now()),
    ).save()
    DeadLetter.objects.create(raw="{}", reason="no", session_id="s", sequence=1)
    move_position("exchange", "s1", 10)
    save_connection("exchange", None, "s1", 17)
    PlacementWorker.objects.create(
        name="a:1 qcluster", said_at=timezone.now(), clock_offset_s=-60.0, problem="its clock is wrong"
    )
    PlacementWorker.objects.create(name="a:2 qcluster", said_at=timezone.now(), clock_offset_s=0.1)

    found = scrape()

    assert found["database_up"] == 1
    assert 30 <= found["queue_age_seconds"] < 60
    assert found["due_orders"] == 1
    assert found['outcomes_last_minute{outcome="retrying"}'] == 1
    assert found['outcomes_last_minute{outcome="placed"}'] == 0
    assert found["dead_letters"] == 1
    assert (found["feed_connected"], found["feed_lag_reports"]) == (1, 7)
    assert found["feed_said_age_seconds"] < 10
    assert (found["workers_with_problem"], found["worker_clock_offset_seconds"]) == (1, 60)
    assert any(name.startswith("database_connections{") for name in found)
    assert 'orders_needing_operator{status="failed"}' in found


def test_a_scrape_asks_as_much_whatever_there_is(scrape: Any, django_user_model: Any, django_assert_num_queries: Any) -> None:
    user = django_user_model.objects.create_user("anna")
    with django_assert_num_queries(15):
        scrape()
    accept_orders(user.pk, [NewOrder("market", "buy", "AAPL_2025_03", 1) for _ in range(50)])
    save_connection("exchange", None, "s1", 17)
    with django_assert_num_queries(16):
        scrape()


def test_a_database_that_is_away_is_a_metric_and_no_error(scrape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(_now: Any) -> float:
        raise DatabaseUnavailable("down")

    monkeypatch.setattr("orders.operations.system_status.queue_age_s", unavailable)
    found = scrape()
    assert found["database_up"] == 0
    assert "due_orders" not in found


def test_the_age_of_the_newest_backup_is_told_where_they_are_made(scrape: Any, settings: Any, tmp_path: Path) -> None:
    settings.BACKUP_DIR = None
    assert "backup_age_seconds" not in scrape()
    for settings.BACKUP_DIR in (tmp_path, tmp_path / "not made"):
        assert scrape()["backup_age_seconds"] == math.inf
    settings.BACKUP_DIR = tmp_path
    (tmp_path / f"{timezone.now() - timedelta(hours=2):{NAME}}").touch()
    assert 7_200 <= scrape()["backup_age_seconds"] < 7_260


def test_answers_to_orders_are_counted_and_timed(web: WebProcess) -> None:
    before = read(web.ask("GET", "/metrics").text)
    assert web.order().status == 202
    assert web.order(quantity=-1).status == 400
    after = read(web.ask("GET", "/metrics").text)
    for status in (202, 400):
        name = f'accept_seconds_count{{call="order",status="{status}"}}'
        assert after[name] == before.get(name, 0) + 1


@pytest.fixture
def two_workers(web: WebProcess, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    environment = os.environ | {
        "DATABASE_URL": local_install.load(web.data_dir).postgres_url,
        "ALLOWED_HOSTS": "127.0.0.1",
        "DATA_DIR": str(tmp_path),
    }
    # A worker that was only just forked can miss the signal to stop, and would be waited for for ever.
    options = ["--interface", "wsgi", "--workers", "2", "--workers-kill-timeout", "8", "--port", str(port)]
    command = [sys.executable, "-m", "granian", *options]
    with subprocess.Popen([*command, "lemon_market.wsgi:application"], cwd=CHECKOUT, env=environment) as granian:
        wait_until(lambda: is_live(port), within_s=20, what="it listens")
        yield f"http://127.0.0.1:{port}"
        granian.terminate()


def is_live(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_several_workers_tell_the_sum_of_what_each_counted(two_workers: str, web: WebProcess) -> None:
    for _ in range(40):
        request = urllib.request.Request(two_workers + "/orders", b"{}", {"Authorization": f"Token {web.token}"})
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=10)
    for _ in range(5):
        with urllib.request.urlopen(two_workers + "/metrics", timeout=10) as answer:
            found = read(answer.read().decode())
        counts = [value for name, value in found.items() if name.startswith("accept_seconds_count")]
        assert sum(counts) == 40
