from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from benchmarks.filling import fill

OLD_ORDERS = 150_000
ACCOUNTS = 100


@pytest.fixture(scope="module")
def old_orders(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """150,000 orders of 100 accounts, committed, for all tests of a module; each test's own changes are rolled back."""
    with django_db_blocker.unblock():
        accounts = [get_user_model().objects.create_user(f"old-{number}").pk for number in range(ACCOUNTS)]
        with connection.cursor() as cursor:
            fill(cursor, OLD_ORDERS, accounts)
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE auth_user CASCADE")


@pytest.fixture
def account(old_orders: None, db: None) -> Any:
    """One of those that have old orders: 1,500 of them."""
    return get_user_model().objects.get(username="old-0")
