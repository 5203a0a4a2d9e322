from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client, override_settings

from infrastructure.database.parameters import connection_parameters
from orders.models import Order
from orders.order_entry.service import NewOrder, accept_orders
from orders.retry_policy import PlacementPolicy
from testsupport.event_writers import WRITERS
from testsupport.placement import POLICY


@pytest.fixture
def account(db: None) -> Any:
    return get_user_model().objects.create_user("anna")


@pytest.fixture(scope="session", autouse=True)
def static_files_looked_for_when_asked_for() -> Iterator[None]:
    """Each test client has middleware of its own, and WhiteNoise would go through all static files for each."""
    with override_settings(WHITENOISE_AUTOREFRESH=True):
        yield


@pytest.fixture
def policy() -> PlacementPolicy:
    return POLICY


@pytest.fixture
def accept(account: Any) -> Callable[..., Order]:
    """Accepts one market order, with any of its terms changed."""

    def accept_one(**terms: Any) -> Order:
        usual: dict[str, Any] = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100}
        request = NewOrder(**usual | terms)
        [order] = accept_orders(account.pk, [request]).orders
        return order

    return accept_one


@pytest.fixture
def staff(django_user_model: Any) -> Callable[..., Client]:
    """Logs in a new member of staff with the named permissions and no others."""

    def log_in(*permissions: str, name: str = "dora") -> Client:
        person = django_user_model.objects.create_user(name, is_staff=True)
        person.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        assert person.user_permissions.count() == len(permissions)
        client = Client(raise_request_exception=False)
        client.force_login(person)
        return client

    return log_in


@pytest.fixture
def viewer(staff: Callable[..., Client]) -> Client:
    return staff("view_order", name="vera")


@pytest.fixture
def writers(transactional_db: None) -> Iterator[list["psycopg.Connection[Any]"]]:
    """Connections of their own, on which a test writes events."""
    with ExitStack() as stack:
        yield [stack.enter_context(psycopg.connect(**connection_parameters())) for _ in range(WRITERS)]
