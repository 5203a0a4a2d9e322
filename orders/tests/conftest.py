from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from infrastructure.database.parameters import connection_parameters
from orders.retry_policy import PlacementPolicy
from testsupport.event_writers import WRITERS
from testsupport.placement import POLICY


@pytest.fixture
def policy() -> PlacementPolicy:
    return POLICY


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
