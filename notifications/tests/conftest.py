import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.utils import timezone
from knox.models import AuthToken

from notifications.tests.talking import CHECKOUT, Client, Clients, ServiceProcess, database_url
from orders import lifecycle
from orders.events.notify import ORDER_EVENTS, doorbell
from orders.models import Order, OrderEvent
from orders.order_entry.service import NewOrder, accept_orders
from orders.storage import save_changes
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


def token_of(user: User) -> str:
    _stored, token = AuthToken.objects.create(user)
    return str(token)


def accept(user: User, count: int = 1, **terms: Any) -> list[Order]:
    """Market orders of `user`, all in one transaction, with any of their terms changed."""
    terms = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100, **terms}
    return accept_orders(user.pk, [NewOrder(**terms) for _ in range(count)]).orders


def event_types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def change(order: Order, apply: Callable[..., list[OrderEvent]], *values: Any) -> None:
    """Do to the stored order what `apply`, a function of the life cycle, does, and store its events."""
    with transaction.atomic():
        stored = Order.objects.select_for_update().get(pk=order.pk)
        save_changes([stored], apply(stored, *values))


def place(order: Order) -> None:
    change(order, lifecycle.acknowledged, "X-1", timezone.now())


def many_events(user: User, count: int, padding: int = 0, first: int = 1) -> None:
    """Events `bulk-1` (or of another `first` number) and so on of a new order, in one transaction."""
    [order] = accept(user)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders_orderevent (event_id, order_id, account_id, type, data, occurred_at, recorded_at)"
            " SELECT 'bulk-' || number, %s, %s, 'retrying', %s, now(), now() FROM generate_series(%s, %s) AS number",
            [order.id, user.pk, json.dumps({"reason": "x" * padding}), first, first + count - 1],
        )
    doorbell.ring(ORDER_EVENTS)
