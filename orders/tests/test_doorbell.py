import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from infrastructure.database.parameters import connection_parameters
from orders.events.notify import ORDER_EVENTS, ORDERS_DUE, Doorbell, rings
from orders.models import Order

pytestmark = pytest.mark.django_db(transaction=True)
# Only the test rings it.
THE_END = "the_end"


@contextmanager
def listening() -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(**connection_parameters(), autocommit=True) as listener:
        for channel in (ORDERS_DUE, ORDER_EVENTS, THE_END):
            listener.execute(f"LISTEN {channel}")
        yield listener


def heard(listener: "psycopg.Connection[Any]") -> list[str]:
    """The channel of the next ring, and of those that came together with it; nothing when none comes."""
    return [ring.channel for ring in listener.notifies(timeout=10, stop_after=1)]


def cut_other_connections() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchone()[0] > 0


def test_each_ring_is_heard_once_by_another_connection() -> None:
    with listening() as listener, closing(Doorbell()) as bell:
        for channel in (ORDERS_DUE, ORDER_EVENTS, ORDERS_DUE):
            bell.ring(channel)
            assert heard(listener) == [channel]
        # All that it sends comes before what is sent now.
        bell.close()
        listener.execute(f"NOTIFY {THE_END}")
        assert heard(listener) == [THE_END]


def test_a_bell_whose_connection_was_cut_rings_again() -> None:
    with closing(Doorbell()) as bell:
        with listening() as listener:
            bell.ring(ORDERS_DUE)
            assert heard(listener) == [ORDERS_DUE]
        cut_other_connections()
        with listening() as listener:
            bell.ring(ORDERS_DUE)
            assert heard(listener) == [ORDERS_DUE]


def test_a_listener_is_told_of_a_ring_and_of_a_connection_that_was_cut() -> None:
    async def listen() -> None:
        told = rings(ORDERS_DUE)
        async with asyncio.timeout(30):
            # Listening from here on.
            await anext(told)
            await asyncio.to_thread(bell.ring, ORDERS_DUE)
            await anext(told)
            await asyncio.to_thread(cut)
            await anext(told)
        await told.aclose()  # type: ignore[attr-defined]

    def cut() -> None:
        try:
            cut_other_connections()
        finally:
            connection.close()

    with closing(Doorbell()) as bell:
        asyncio.run(listen())


def test_an_accepted_order_rings_only_after_its_commit(accept: Callable[..., Order], monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    monkeypatch.setattr("orders.events.notify.doorbell.ring", rung.append)
    with transaction.atomic():
        accept()
        assert rung == []
    assert sorted(rung) == ["order_events", "orders_due"]
