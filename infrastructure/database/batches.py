"""Stores many items in one transaction, or each in its own when the database rejects one of them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import DatabaseError

from infrastructure.database.errors import DatabaseUnavailable

T = TypeVar("T")


def store_all_or_each(
    items: Sequence[T], store: Callable[[Sequence[T]], object], refuse: Callable[[T, Exception], object]
) -> bool:
    """`store` the items in one call, or else one by one, and `refuse` each that fails. Returns whether one call was enough.

    Both functions open their own transactions. Raises DatabaseUnavailable, for which no item is to blame.
    """
    try:
        store(items)
    except DatabaseUnavailable:
        raise
    except (DatabaseError, ValueError) as error:
        if len(items) == 1:
            refuse(items[0], error)
            return False
        for item in items:
            store_all_or_each([item], store, refuse)
        return False
    return True
