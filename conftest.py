"""Fixtures that the tests of several packages take."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings

from orders.events.notify import notifier
from orders.models import Order
from orders.order_entry.service import NewOrder, accept_orders


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """pytest-django's, which drops the test database in the end: the notifier's connection would keep it from that."""
    yield
    notifier.close()


@pytest.fixture(scope="session", autouse=True)
def static_files_looked_for_when_asked_for() -> Iterator[None]:
    """Each test client has middleware of its own, and WhiteNoise would go through all static files for each."""
    with override_settings(WHITENOISE_AUTOREFRESH=True):
        yield


@pytest.fixture
def account(db: None) -> User:
    return User.objects.create_user("anna")


@pytest.fixture
def accept(account: User) -> Callable[..., Order]:
    """Accepts one market order, with any of its terms changed."""

    def accept_one(**terms: Any) -> Order:
        usual: dict[str, Any] = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100}
        request = NewOrder(**usual | terms)
        [order] = accept_orders(account.pk, [request]).orders
        return order

    return accept_one
