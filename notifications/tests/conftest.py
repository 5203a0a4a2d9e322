import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.utils import timezone
from knox.models import AuthToken

from notifications.tests.talking import Client, Clients, ServiceProcess
from orders import lifecycle
from orders.accepting import NewOrder, accept_orders
from orders.doorbell import ORDER_EVENTS, doorbell
from orders.models import Order, OrderEvent
from orders.storage import save_changes


@pytest.fixture(scope="session", autouse=True)
def doorbell_closed_in_the_end(django_db_setup: None) -> Iterator[None]:
    yield
    # Its connection would keep the test database from being dropped.
    doorbell.close()


@pytest.fixture(scope="session")
def _service(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("service"), NOTIFICATIONS_HEARTBEAT="0.2") as service:
        yield service
    assert "Traceback" not in service.said()


@pytest.fixture(scope="session")
def _trial_service(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[ServiceProcess]:
    environment = {"ANONYMOUS_ACCOUNT": "demo", "NOTIFICATIONS_CONNECTIONS_PER_ACCOUNT": "3"}
    with ServiceProcess(tmp_path_factory.mktemp("trial"), **environment) as service:
        yield service
    assert "Traceback" not in service.said()


@pytest.fixture(scope="session")
def _mortal_service(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("mortal")) as service:
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


def many_events(user: User, count: int, padding: int = 0) -> None:
    """Events `bulk-1` and so on of a new order, in one transaction."""
    [order] = accept(user)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders_orderevent (event_id, order_id, account_id, type, data, occurred_at, recorded_at)"
            " SELECT 'bulk-' || number, %s, %s, 'retrying', %s, now(), now() FROM generate_series(1, %s) AS number",
            [order.id, user.pk, json.dumps({"reason": "x" * padding}), count],
        )
    doorbell.ring(ORDER_EVENTS)
