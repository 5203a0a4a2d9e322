import asyncio
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from orders.events.notify import ORDERS_DUE, Doorbell, rings
from orders.models import Order

pytestmark = pytest.mark.django_db(transaction=True)


def count_rings(action: Callable[[], None]) -> None:
    """Fails by timeout when `action` is not heard."""

    async def listen() -> None:
        heard = rings(ORDERS_DUE)
        await anext(heard)  # Listening from here on.
        await asyncio.to_thread(action)
        await asyncio.wait_for(anext(heard), 10)
        await heard.aclose()  # type: ignore[attr-defined]

    asyncio.run(listen())


def test_a_ring_is_heard_by_another_connection() -> None:
    bell = Doorbell()
    try:
        count_rings(lambda: bell.ring(ORDERS_DUE))
    finally:
        bell.close()


def test_a_bell_whose_connection_was_cut_rings_again() -> None:
    bell = Doorbell()
    try:
        count_rings(lambda: bell.ring(ORDERS_DUE))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        bell.ring(ORDERS_DUE)  # Lost with the connection, or not.
        count_rings(lambda: bell.ring(ORDERS_DUE))
    finally:
        bell.close()


def test_an_accepted_order_rings_only_after_its_commit(accept: Callable[..., Order], monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    monkeypatch.setattr("orders.events.notify.doorbell.ring", rung.append)
    with transaction.atomic():
        accept()
        assert rung == []
    assert sorted(rung) == ["order_events", "orders_due"]
