"""The process itself: its probe, its port, its options."""

import socket
import urllib.error
import urllib.request

import aiohttp
import pytest
from django.core.management import CommandError, call_command

from devstack.free_ports import free_port
from infrastructure.addresses import AddressError
from notifications import server
from notifications.checks import notification_settings
from notifications.tests.talking import ServiceProcess
from testsupport.raw_websocket import RawClient


def test_there_is_a_probe_and_no_other_page(service, clients):
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/health/live") as answer:
        assert (answer.status, answer.read()) == (200, b'{"status":"ok"}')
    for path in ("/", "/orders", "/admin/", "/ws/orders"):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://127.0.0.1:{service.port}{path}")
        with error.value as answer:
            assert answer.code == 404
    with pytest.raises(aiohttp.WSServerHandshakeError):
        clients.connect(service.url, **{"Sec-WebSocket-Version": "8"})


def test_a_taken_port_is_named(service):
    problem = f"^NOTIFICATIONS_PORT {service.port} cannot be used on 127.0.0.1: Address already in use$"
    with pytest.raises(CommandError, match=problem):
        call_command("run_notification_service", port=service.port)


def test_a_trial_is_kept_on_this_machine(settings):
    settings.HOST, settings.ANONYMOUS_ACCOUNT = "0.0.0.0", "demo"
    with pytest.raises(AddressError, match=r"HOST 0\.0\.0\.0 can be reached from other machines"):
        server.run(free_port())


@pytest.mark.usefixtures("transactional_db")
def test_it_stops_also_while_it_waits_for_a_kafka_that_is_not_there(tmp_path):
    nobody = f"127.0.0.1:{free_port()}"
    with ServiceProcess(tmp_path, ORDER_TRANSPORT="kafka", KAFKA_BOOTSTRAP_SERVERS=nobody) as service:
        assert service.stop() == 0


def test_clients_that_come_and_go_leave_nothing_behind(trial_service, clients, anna, token):
    """More of them than one account may have at once."""
    for _ in range(5):
        with RawClient(trial_service.port, token) as client:
            next(client.frames())
            # Without a goodbye.
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        clients.subscribe(trial_service.url, token).close()
    assert clients.subscribe(trial_service.url, token).is_alive()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFICATIONS_HEARTBEAT", 0.0),
        ("NOTIFICATIONS_HEARTBEAT", 26.0),
        ("NOTIFICATIONS_HEARTBEAT", float("nan")),
        ("NOTIFICATIONS_CONNECTIONS_PER_ACCOUNT", 0),
    ],
)
def test_settings_that_break_a_promise_are_refused(settings, name, value):
    assert notification_settings() == []
    setattr(settings, name, value)
    [error] = notification_settings()
    assert error.msg.startswith(name)
