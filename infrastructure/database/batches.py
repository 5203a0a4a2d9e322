"""Storing many things in one transaction, or each in its own when the database does not take one of them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import DatabaseError

from infrastructure.database.errors import DatabaseUnavailable

T = TypeVar("T")


def store_all_or_each(
    items: Sequence[T], store: Callable[[Sequence[T]], object], refuse: Callable[[T, Exception], object]
) -> bool:
    """`store` the items, in one call if possible; whether it was. `refuse` is told of each that cannot be stored by itself.

    Both have transactions of their own. Raises DatabaseUnavailable while the database is unavailable; it is no item's fault.
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
