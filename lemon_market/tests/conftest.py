from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User

from lemon_market.tests.web_process import WebProcess
from orders.doorbell import doorbell


@pytest.fixture
def quiet_doorbell() -> Iterator[None]:
    """For tests that accept orders: the doorbell's connection would keep the test database from being dropped."""
    yield
    doorbell.close()


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """One for all tests; whoever breaks its database mends it."""
    process = WebProcess(tmp_path_factory.mktemp("web"))
    yield process
    process.stop()


@pytest.fixture
def account(db: None) -> User:
    return User.objects.create_user("anna")
