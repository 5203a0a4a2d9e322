"""For the tests of every package."""

from collections.abc import Iterator

import pytest

from orders.events.notify import doorbell


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """pytest-django's, which drops the test database in the end: the doorbell's connection would keep it from that."""
    yield
    doorbell.close()
