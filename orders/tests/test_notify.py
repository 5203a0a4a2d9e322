import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from infrastructure.database.parameters import connection_parameters
from orders.events.notify import ORDER_EVENTS, ORDERS_DUE, Notifier, listen
from orders.models import Order

pytestmark = pytest.mark.django_db(transaction=True)
# Nobody else notifies it.
THE_END = "the_end"


@contextmanager
def listening() -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(**connection_parameters(), autocommit=True) as listener:
        for channel in (ORDERS_DUE, ORDER_EVENTS, THE_END):
            listener.execute(f"LISTEN {channel}")
        yield listener


def heard(listener: "psycopg.Connection[Any]") -> list[str]:
    """The channel of the next notification, and of those that came together with it; nothing when none comes."""
    return [notification.channel for notification in listener.notifies(timeout=10, stop_after=1)]


def cut_other_connections() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchone()[0] > 0


def test_each_ring_is_heard_once_by_another_connection() -> None:
    with listening() as listener, closing(Notifier()) as notifier:
        for channel in (ORDERS_DUE, ORDER_EVENTS, ORDERS_DUE):
            notifier.notify(channel)
            assert heard(listener) == [channel]
        # All that it sends comes before what is sent now.
        notifier.close()
        listener.execute(f"NOTIFY {THE_END}")
        assert heard(listener) == [THE_END]


def test_a_bell_whose_connection_was_cut_rings_again() -> None:
    with closing(Notifier()) as notifier:
        with listening() as listener:
            notifier.notify(ORDERS_DUE)
            assert heard(listener) == [ORDERS_DUE]
        cut_other_connections()
        with listening() as listener:
            notifier.notify(ORDERS_DUE)
            assert heard(listener) == [ORDERS_DUE]


def test_a_listener_hears_of_a_notification_and_of_a_connection_that_was_cut() -> None:
    async def hear() -> None:
        heard = listen(ORDERS_DUE)
        async with asyncio.timeout(30):
            # Listening from here on.
            await anext(heard)
            await asyncio.to_thread(notifier.notify, ORDERS_DUE)
            await anext(heard)
            await asyncio.to_thread(cut)
            await anext(heard)
        await heard.aclose()  # type: ignore[attr-defined]

    def cut() -> None:
        try:
            cut_other_connections()
        finally:
            connection.close()

    with closing(Notifier()) as notifier:
        asyncio.run(hear())


def test_an_accepted_order_rings_only_after_its_commit(accept: Callable[..., Order], monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[str] = []
    monkeypatch.setattr("orders.events.notify.notifier.notify", requested.append)
    with transaction.atomic():
        accept()
        assert requested == []
    assert sorted(requested) == ["order_events", "orders_due"]
