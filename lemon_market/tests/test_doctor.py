"""`manage.py doctor`, on a whole installation and on single things that are wrong."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from devstack.free_ports import free_port
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.parameters import connection_parameters
from lemon_market.backup_directory import NAME
from lemon_market.doctor import Level, examine
from lemon_market.doctor.database import clock
from lemon_market.doctor.finding import Finding
from lemon_market.doctor.machine import check_machine
from lemon_market.doctor.services import check_kafka, clock_of_exchange
from orders.executions.feed_connection import save_connection
from orders.executions.feed_positions import move_position
from orders.models import DeadLetter, Order, PlacementWorker
from orders.order_entry.service import NewOrder, accept_orders
from orders.risk.switches import confirm_halts, halt_trading
from testsupport.installation import CHECKOUT, Installation
from testsupport.transport_plugin import Transport
from testsupport.waiting import wait_until

DATABASE_FINDINGS = {"database", "migrations", "clock of the database", "connections", "transactions"}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    started = Installation(tmp_path_factory.mktemp("doctor"))
    started.ensure_up()
    yield started
    started.stop()


def doctor(environment: dict[str, str]) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, {finding["name"]: finding for finding in json.loads(done.stdout)}


def test_a_whole_installation_is_fine(installation: Installation) -> None:
    wait_until(lambda: doctor(installation.environment)[0] == 0, within_s=30, what="nothing is bad")
    code, findings = doctor(installation.environment)
    assert code == 0
    assert {name for name, finding in findings.items() if finding["level"] != "ok"} <= {"disk"}
    assert {
        "database",
        "migrations",
        "queue",
        "feed",
        "exchange",
        "disk",
        "qcluster",
        "run_sweep",
        "web",
        "notifications",
        "clock of the database",
        "clock of the exchange",
        "connections",
        "transactions",
        "settings",
    } <= findings.keys()


def test_an_exchange_that_does_not_answer_is_bad_and_says_what_happens_to_orders(installation: Installation) -> None:
    [exchange] = installation.pids("run_exchange_simulator")
    os.kill(exchange, signal.SIGSTOP)
    try:
        code, findings = doctor({**installation.environment, "EXCHANGE_TIMEOUT": "0.5"})
    finally:
        os.kill(exchange, signal.SIGCONT)
    assert code == 1
    assert findings["exchange"]["level"] == "bad"
    assert "Orders are accepted and wait" in findings["exchange"]["advice"]


def test_a_database_that_is_away_is_one_finding_and_no_stack_trace(installation: Installation) -> None:
    unreachable = f"postgres://nobody:x@127.0.0.1:{free_port()}/none"
    code, findings = doctor({**installation.environment, "DATABASE_URL": unreachable, "SECRET_KEY": "x" * 60})
    assert code == 1
    assert findings["database"]["level"] == "bad"
    assert "queue" not in findings
    assert findings["exchange"]["level"] == "ok"


@pytest.fixture
def found(transactional_db: None) -> Callable[[], dict[str, Finding]]:
    """What it finds with an exchange that nobody could reach."""

    def examined() -> dict[str, Finding]:
        with override_settings(EXCHANGE_URL=f"http://127.0.0.1:{free_port()}"):
            return {finding.name: finding for finding in examine()}

    return examined


def accept(user: Any) -> Order:
    [order] = accept_orders(user.pk, [NewOrder("market", "buy", "AAPL_2025_03", 1)]).orders
    return order


def test_orders_that_wait_are_told_by_how_long(found: Callable[[], dict[str, Finding]], django_user_model: Any) -> None:
    order = accept(django_user_model.objects.create_user("anna"))
    levels = []
    for age_s in (0, 30, 300):
        Order.objects.filter(id=order.id).update(next_attempt_at=timezone.now() - timedelta(seconds=age_s))
        levels.append(found()["queue"].level)
    assert levels == [Level.OK, Level.WARN, Level.BAD]


def test_roles_that_nobody_plays_are_bad(found: Callable[[], dict[str, Finding]]) -> None:
    assert {found()[role].level for role in ("qcluster", "run_sweep", "run_update_consumer")} == {Level.BAD}


def test_the_feed_is_judged_by_its_connection_and_by_what_is_left(found: Callable[[], dict[str, Finding]]) -> None:
    assert found()["feed"].level is Level.BAD
    move_position("exchange", "s1", 100)
    save_connection("exchange", None, "s1", 100)
    assert (found()["feed"].level, found()["feed"].text) == (Level.OK, "connected, 0 report(s) behind")
    save_connection("exchange", None, "s1", 5_000)
    assert found()["feed"].level is Level.WARN
    save_connection("exchange", "refused")
    assert found()["feed"].text == "not connected: refused"


def test_workers_tell_on_every_machine_what_keeps_them_from_their_work(found: Callable[[], dict[str, Finding]]) -> None:
    assert "clocks of workers" not in found()
    now = timezone.now()
    waits = {"problem": "the exchange accepts nothing (closed)", "paused_until": now + timedelta(seconds=30)}
    PlacementWorker.objects.create(name="a:1 qcluster", said_at=now, clock_offset_s=0.01)
    PlacementWorker.objects.create(name="a:2 qcluster", said_at=now, clock_offset_s=0.01, **waits)
    PlacementWorker.objects.create(
        name="c:4 qcluster", said_at=now - timedelta(minutes=1), clock_offset_s=99.0, problem="long ago"
    )
    findings = found()
    told = {name: finding.text for name, finding in findings.items() if name.startswith("worker ")}
    assert told == {"worker a:2 qcluster": "the exchange accepts nothing (closed)"}
    assert findings["clocks of workers"].level is Level.OK
    PlacementWorker.objects.create(name="b:3 qcluster", said_at=now, clock_offset_s=-3600.0, problem="its clock is wrong")
    findings = found()
    assert findings["worker b:3 qcluster"].level is Level.BAD
    assert "NTP" in findings["worker b:3 qcluster"].advice
    assert findings["clocks of workers"].level is Level.BAD
    assert findings["clocks of workers"].text == "at most -3600.00 s from the database's, of 3 process(es)"


def test_what_waits_for_a_person_is_told(found: Callable[[], dict[str, Finding]]) -> None:
    halt_trading("dora", "odd prices")
    DeadLetter.objects.create(raw="{}", reason="no", session_id="s", sequence=1)
    findings = found()
    assert (findings["halt"].level, findings["dead letters"].level) == (Level.WARN, Level.WARN)
    assert findings["halt"].text == "All trading is halted, stopping, 0 sends under way: odd prices"
    confirm_halts()
    assert found()["halt"].text.startswith("All trading is halted, confirmed at 20")


def test_missing_migrations_and_an_unprepared_restore_are_bad(
    found: Callable[[], dict[str, Finding]], django_user_model: Any
) -> None:
    order = accept(django_user_model.objects.create_user("anna"))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE orders_orderevent SET tx = '999999999999'")
    assert "after_restore" in found()["migrations"].advice
    order.events.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'orders'")
    try:
        assert found()["migrations"].advice == "Run manage.py migrate."
    finally:
        call_command("migrate", "orders", fake=True, verbosity=0)


def test_a_full_disk_is_bad(found: Callable[[], dict[str, Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"total": 1000, "free": 10}))
    assert found()["disk"].level is Level.BAD


@pytest.mark.parametrize(
    ("apart_s", "level"), [(0.0, Level.OK), (-0.6, Level.WARN), (0.6, Level.WARN), (-2.1, Level.BAD), (2.1, Level.BAD)]
)
def test_the_clock_of_the_database_may_be_half_a_second_apart(apart_s: float, level: Level) -> None:
    finding = clock(apart_s)
    assert (finding.name, finding.level) == ("clock of the database", level)


@pytest.mark.parametrize(
    ("apart_s", "level"), [(0, Level.OK), (3, Level.WARN), (-3, Level.WARN), (60, Level.BAD), (-60, Level.BAD)]
)
def test_the_clock_of_the_exchange_is_told_in_full_seconds(apart_s: int, level: Level, settings: Any) -> None:
    # So that a second more or less, which HTTP does not tell, decides nothing.
    settings.EXCHANGE_CLOCK_MARGIN = 4.0
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=apart_s), usegmt=True)
    assert clock_of_exchange(date, 0.0).level is level


def test_an_exchange_that_does_not_tell_the_time_is_no_proof(found: Callable[[], dict[str, Finding]]) -> None:
    finding = clock_of_exchange(None, 0.0)
    assert (finding.level, finding.text) == (Level.WARN, "its answers have no Date")


@pytest.mark.parametrize("date", ["soon", "", "Thu, 99 Foo 2026 00:00:00 GMT", "-0000"])
def test_an_exchange_whose_time_cannot_be_read_is_no_proof(date: str) -> None:
    finding = clock_of_exchange(date, 0.0)
    assert (finding.level, finding.text) == (Level.WARN, f"the Date of its answers cannot be read: {date}")


def test_a_time_without_a_zone_is_utc() -> None:
    date = format_datetime(datetime.now(UTC).replace(tzinfo=None))
    assert date.endswith("-0000")
    assert clock_of_exchange(date, 0.0).level is Level.OK


@pytest.mark.parametrize(
    ("broken", "check", "without"),
    [
        ("lemon_market.doctor.settings_in_force.run_checks", "settings", {"settings"}),
        ("lemon_market.doctor.database.is_read_only", "database", DATABASE_FINDINGS),
        ("lemon_market.doctor.database.read_clock", "clock of the database", {"clock of the database"}),
        ("lemon_market.doctor.database.is_renumbering_needed", "migrations", {"migrations"}),
        ("lemon_market.doctor.backlog.heard_within", "workers", set()),
        ("orders.operations.system_status.queue_age_s", "queue", {"queue"}),
        ("orders.operations.system_status.feed", "feed", {"feed"}),
        ("lemon_market.doctor.backlog.halts_in_force", "orders for an operator", set()),
        ("lemon_market.doctor.services.check_server", "web", {"web", "notifications"}),
        ("lemon_market.doctor.services.ask", "exchange", {"exchange", "web", "notifications"}),
        ("shutil.disk_usage", "disk", {"disk"}),
    ],
)
def test_a_check_that_breaks_is_a_finding_and_all_others_are_made(
    found: Callable[[], dict[str, Finding]], monkeypatch: pytest.MonkeyPatch, broken: str, check: str, without: set[str]
) -> None:
    whole = found().keys()

    def breaks(*_: Any, **__: Any) -> Any:
        raise TypeError("no\nway")

    monkeypatch.setattr(broken, breaks)
    findings = found()
    finding = findings[f"check of {check}"]
    assert (finding.level, finding.text) == (Level.BAD, "it failed: TypeError: no way")
    assert whole - findings.keys() == without


def test_a_database_that_goes_away_in_the_middle_does_not_hide_the_rest(
    found: Callable[[], dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_now: Any) -> float:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr("orders.operations.system_status.queue_age_s", unreachable)
    findings = found()
    assert findings["check of queue"].text == "the database cannot be reached: gone"
    assert {"feed", "exchange", "disk"} <= findings.keys()


def test_a_transaction_that_is_left_open_is_told(
    found: Callable[[], dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lemon_market.doctor.database.LONG_TRANSACTION_S", 0)
    with psycopg.connect(**connection_parameters()) as other:
        other.execute("SELECT 1")
        assert found()["transactions"].level is Level.WARN


def test_kafka_is_asked_for_its_topics_and_for_what_waits(kafka: Transport) -> None:
    findings = {finding.name: finding for finding in check_kafka()}
    assert findings["kafka"].level is Level.OK
    assert {"lag of orders", "lag of executions"} <= findings.keys()


def test_topics_that_are_missing_are_named(kafka: Transport, settings: Any) -> None:
    settings.KAFKA_PREFIX = "nobody-has-made-these-"
    [finding] = check_kafka()
    assert (finding.level, finding.advice) == (Level.BAD, "Run manage.py create_topics.")
    assert "nobody-has-made-these-orders" in finding.text


def test_a_kafka_that_is_away_is_bad_and_stops_no_order(settings: Any) -> None:
    settings.KAFKA_BOOTSTRAP_SERVERS = f"127.0.0.1:{free_port()}"
    settings.EXCHANGE_TIMEOUT = 1.0
    [finding] = check_kafka()
    assert (finding.name, finding.level) == ("kafka", Level.BAD)
    assert "still accepted and placed" in finding.advice


def backups_finding() -> Finding | None:
    return next((finding for finding in check_machine() if finding.name == "backups"), None)


@pytest.mark.parametrize(("age_s", "level"), [(0, Level.OK), (5_000, Level.WARN), (9_000, Level.BAD)])
def test_the_age_of_the_newest_backup_is_judged(age_s: int, level: Level, settings: Any, tmp_path: Path) -> None:
    settings.BACKUP_DIR, settings.BACKUP_MAX_AGE = tmp_path, 8_000
    for age in (age_s, 20_000):
        (tmp_path / f"{timezone.now() - timedelta(seconds=age):{NAME}}").touch()
    # One that is not finished counts for nothing.
    (tmp_path / f"{timezone.now():{NAME}}.unfinished").touch()
    finding = backups_finding()
    assert finding is not None
    assert finding.level is level


def test_backups_that_are_not_there_are_bad(settings: Any, tmp_path: Path) -> None:
    for settings.BACKUP_DIR in (tmp_path, tmp_path / "not made"):
        finding = backups_finding()
        assert finding is not None
        assert finding.level is Level.BAD


def test_a_machine_that_makes_no_backups_is_not_judged_by_them(settings: Any) -> None:
    settings.BACKUP_DIR = None
    assert backups_finding() is None
