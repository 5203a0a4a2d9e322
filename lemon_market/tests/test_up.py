import os
import signal
import socket

import psutil
import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from devstack import processes
from devstack.free_ports import free_port
from infrastructure import addresses
from infrastructure.addresses import AddressError
from testsupport.database import database_url
from testsupport.installation import Installation
from testsupport.system import System
from testsupport.waiting import wait_until


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    installation = Installation(tmp_path_factory.mktemp("up"))
    yield installation
    if installation.up is not None:
        installation.up.terminate()
        installation.up.wait()


@pytest.fixture
def running(installation):
    """The installation, up. It is kept between tests, and started again when one of them has stopped it."""
    installation.ensure_up()
    return installation


@pytest.fixture
def settings(settings):
    """Settings with a free port for everything."""
    settings.EXCHANGE_IS_SIMULATED = True
    settings.WEB_PORT, settings.NOTIFICATIONS_PORT, settings.EXCHANGE_PORT = free_port(), free_port(), free_port()
    return settings


@pytest.mark.parametrize("name", ["WEB_PORT", "NOTIFICATIONS_PORT", "EXCHANGE_PORT"])
def test_a_taken_port_is_named(settings, name):
    addresses.check()
    with socket.create_server(("127.0.0.1", getattr(settings, name))), pytest.raises(AddressError, match=rf"{name} .* in use"):
        addresses.check()


def test_one_port_for_two_things_is_noticed(settings):
    settings.EXCHANGE_PORT = settings.WEB_PORT

    with pytest.raises(AddressError, match=r"EXCHANGE_PORT .* in use"):
        addresses.check()


def test_the_port_of_a_simulator_that_is_not_started_does_not_matter(settings):
    settings.EXCHANGE_IS_SIMULATED = False
    settings.EXCHANGE_PORT = settings.WEB_PORT

    addresses.check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
@pytest.mark.parametrize("name", ["DEBUG", "ANONYMOUS_ACCOUNT"])
def test_a_trial_is_kept_on_this_machine(settings, host, name):
    settings.HOST = host
    setattr(settings, name, "demo")

    with pytest.raises(AddressError, match=f"HOST {host} can be reached from other machines: unset {name}"):
        addresses.check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_this_machine_may_be_named_in_many_ways(settings, host):
    settings.HOST, settings.ANONYMOUS_ACCOUNT = host, "demo"

    addresses.check()


def test_it_refuses_in_one_line(installation):
    assert "WEB_PORT 99999 cannot be used" in installation.refusal(WEB_PORT="99999")


def test_a_database_that_is_away_is_one_line(installation):
    refusal = installation.refusal(DATABASE_URL=f"postgres://somebody@127.0.0.1:{free_port()}/nothing", SECRET_KEY="x" * 60)

    assert "the database cannot be used: connection failed" in refusal


@pytest.mark.django_db(transaction=True)
def test_a_database_of_another_version_is_one_line(installation):
    recorder = MigrationRecorder(connection)
    recorder.record_applied("orders", "0002_not_in_this_version")
    try:
        refusal = installation.refusal(DATABASE_URL=database_url(), SECRET_KEY="x" * 60)
    finally:
        recorder.record_unapplied("orders", "0002_not_in_this_version")
    assert "created by another version of Lemon Market (it has orders.0002_not_in_this_version)" in refusal


def test_it_says_where_everything_is(running):
    output = running.output.read_text()

    assert output.splitlines()[1] == f"Trading page http://127.0.0.1:{running.port}/"
    assert f"http://127.0.0.1:{running.port}/docs" in output
    assert f"http://127.0.0.1:{running.port}/admin/  user admin, password " in output
    assert f"http://127.0.0.1:{running.environment['EXCHANGE_PORT']}  (simulated)" in output


def test_a_second_one_in_the_same_place_is_refused(running):
    assert "is running already" in running.refusal(WEB_PORT=str(free_port()))


def test_killed_processes_are_replaced(running):
    supervisor = psutil.Process(running.up.pid)
    programs = 1 + len(processes.services())
    wait_until(lambda: len(supervisor.children()) == programs, within_s=10, what="all are there")
    old = set(running.processes()) - {supervisor.pid}
    for child in supervisor.children():
        child.kill()

    # Their children go too: these would keep a port, or do the work of their successors a second time.
    wait_until(lambda: not set(running.processes()) & old, within_s=15, what="all of them are gone")
    wait_until(lambda: len(supervisor.children()) == programs, within_s=15, what="all are started again")
    wait_until(running.is_ready, within_s=15, what="ready again")


def test_a_killed_child_of_the_web_process_is_replaced(running):
    wait_until(lambda: len(running.pids("granian")) == 3, within_s=10, what="the web process has its workers")
    before = running.pids("granian")
    os.kill(before[1], signal.SIGKILL)

    wait_until(lambda: before[1] not in running.pids("granian"), within_s=10, what="the worker is gone")
    wait_until(lambda: len(running.pids("granian")) == 3, within_s=15, what="another one is there")
    wait_until(running.is_ready, within_s=15, what="ready again")


@pytest.mark.parametrize("number", range(1, 6))
def test_no_killed_process_of_the_workers_keeps_orders_from_being_placed(running, number):
    """A cluster of django-q whose idle worker was killed is frozen, and looks healthy to itself: the sweep replaces it."""
    wait_until(lambda: len(running.pids("qcluster")) == 6, within_s=20, what="the workers are there")
    system = System(running, running.data_dir.parent, "django_q")
    os.kill(running.pids("qcluster")[number], signal.SIGKILL)

    system.post(number)

    wait_until(lambda: is_placed(system, number), within_s=30, what="the order is placed")


def is_placed(system, number):
    return system.query(f"SELECT FROM orders_order WHERE client_order_id = 'c{number}' AND status = 'completed'")


def test_a_signal_stops_everything_quietly(running):
    before = running.output.read_text()
    running.up.terminate()

    assert running.up.wait(20) == 0
    assert running.processes() == {}
    assert "Traceback" not in running.output.read_text().removeprefix(before)


def test_nothing_outlives_a_killed_supervisor(running):
    wait_until(lambda: len(running.pids("qcluster")) > 1, within_s=10, what="the workers are there")
    running.up.kill()
    running.up.wait()

    wait_until(lambda: not running.processes(), within_s=20, what="everything is gone")
