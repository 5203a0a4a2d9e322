import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Permission, User

from notifications.tests.order_changes import token_of
from notifications.tests.talking import CHECKOUT, Client, Clients, ServiceProcess
from testsupport.database import database_url
from testsupport.transport_plugin import BOTH, Transport, transport_for_processes


# The processes below end with the tests of this package: they look at the same database as all others.
@pytest.fixture(scope="package", params=BOTH)
def events_from(request: pytest.FixtureRequest, django_db_setup: None) -> Iterator[Transport]:
    """Where the services have their events from: PostgreSQL, or Kafka and a relay that brings them there."""
    transport = transport_for_processes(request.param, request)
    with relay_beside(transport):
        yield transport


@contextmanager
def relay_beside(transport: Transport) -> Iterator[None]:
    if not transport.is_kafka:
        yield
        return
    environment = os.environ | {"DATABASE_URL": database_url()} | transport.environment
    with subprocess.Popen([sys.executable, "manage.py", "run_outbox_relay"], cwd=CHECKOUT, env=environment) as relay:
        yield
        assert relay.poll() is None, "the relay has ended"
        relay.terminate()


@pytest.fixture(scope="package")
def _service(tmp_path_factory: pytest.TempPathFactory, events_from: Transport) -> Iterator[ServiceProcess]:
    environment = events_from.environment | {"NOTIFICATIONS_HEARTBEAT": "0.2"}
    with ServiceProcess(tmp_path_factory.mktemp("service"), **environment) as service:
        yield service
    assert "Traceback" not in service.said()


@pytest.fixture(scope="package")
def _trial_service(tmp_path_factory: pytest.TempPathFactory, events_from: Transport) -> Iterator[ServiceProcess]:
    environment = events_from.environment | {"ANONYMOUS_ACCOUNT": "demo", "NOTIFICATIONS_CONNECTIONS_PER_ACCOUNT": "3"}
    with ServiceProcess(tmp_path_factory.mktemp("trial"), **environment) as service:
        yield service
    assert "Traceback" not in service.said()


@pytest.fixture(scope="package")
def _mortal_service(tmp_path_factory: pytest.TempPathFactory, events_from: Transport) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("mortal"), **events_from.environment) as service:
        yield service
    assert "Traceback" not in service.said()


@pytest.fixture(scope="session")
def _clients() -> Iterator[Clients]:
    clients = Clients()
    yield clients
    clients.close()


@pytest.fixture
def clients(_clients: Clients) -> Iterator[Clients]:
    yield _clients
    _clients.close_all()


@pytest.fixture
def service(_service: ServiceProcess, transactional_db: None) -> ServiceProcess:
    """One that all tests share, which do not harm it."""
    return _service


@pytest.fixture
def trial_service(_trial_service: ServiceProcess, transactional_db: None) -> ServiceProcess:
    """One where requests without credentials act as the account `demo`, and each account has three connections at most."""
    return _trial_service


@pytest.fixture
def mortal_service(_mortal_service: ServiceProcess, transactional_db: None) -> ServiceProcess:
    """One that the test may kill; the next one starts it again."""
    if not _mortal_service.is_running:
        _mortal_service.start()
    return _mortal_service


@pytest.fixture
def anna(transactional_db: None) -> User:
    return User.objects.create_user("anna")


@pytest.fixture
def chief(transactional_db: None) -> User:
    """May see everything, as part of the staff."""
    chief = User.objects.create_user("chief", is_staff=True)
    chief.user_permissions.add(Permission.objects.get(codename="view_order"))
    return chief


@pytest.fixture
def token(anna: User) -> str:
    return token_of(anna)


@pytest.fixture
def client(service: ServiceProcess, clients: Clients, token: str) -> Client:
    """Anna's, subscribed."""
    return clients.subscribe(service.url, token)
