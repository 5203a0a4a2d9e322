from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from benchmarks.filling import fill

OLD_ORDERS = 150_000
ACCOUNTS = 100
# The large account has this many times the orders of each other one: a tenth of all.
LARGE = 11
IDLE_ACCOUNTS = 5_000


@pytest.fixture(scope="module")
def old_orders(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """150,000 orders of 101 accounts, committed, for all tests of a module; each test's own changes are rolled back."""
    with django_db_blocker.unblock():
        # A connection keeps its plan for a foreign key. One made while the table was tiny would scan all orders for each event.
        connection.close()
        accounts = [User.objects.create_user(f"old-{number}").pk for number in range(ACCOUNTS)]
        # With only a hundred accounts PostgreSQL would read all of them for each foreign key, once it knows how few they are.
        User.objects.bulk_create(User(username=f"idle-{number}") for number in range(IDLE_ACCOUNTS))
        with connection.cursor() as cursor:
            fill(cursor, OLD_ORDERS, [*accounts, *[User.objects.create_user("old-large").pk] * LARGE])
            cursor.execute("ANALYZE auth_user")
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE auth_user CASCADE")


@pytest.fixture
def account(old_orders: None, db: None) -> Any:
    """An account with old orders, about 1,350 of them."""
    return User.objects.get(username="old-0")
