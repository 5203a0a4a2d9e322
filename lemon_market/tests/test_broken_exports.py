"""A CSV export whose database dies or hangs in the middle: the client can tell that it is not whole, and soon."""

from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from time import monotonic

import pytest
from django.conf import settings

from testsupport.waiting import wait_until
from testsupport.web_process import WebProcess

# Ten pages of it, and more than the sockets between server and client hold.
ORDERS = 20_000
MAKE_ORDERS = f"""
    INSERT INTO orders_order (id, account_id, client_order_id, created_at, updated_at, type, side, instrument, quantity,
        attempt_count, give_up_at, may_be_at_exchange, status, error_code, error_message, filled_quantity, filled_value)
    SELECT gen_random_uuid(), (SELECT id FROM auth_user WHERE username = 'demo'), 'export-' || n, now(), now(), 'market', 'buy',
        'AAPL_2025_03', 100, 0, now(), false, 'failed', 'exchange_unavailable', repeat('x', 400), 0, 0
    FROM generate_series(1, {ORDERS}) AS n
"""
# Time for what is left to be sent, and for a busy machine.
SPARE_S = 10.0


@pytest.fixture
def many_orders(web: WebProcess) -> Iterator[None]:
    web.administer(MAKE_ORDERS)
    yield
    web.administer("DELETE FROM orders_order WHERE client_order_id LIKE 'export-%'")


def export(web: WebProcess, in_the_middle: Callable[[], None]) -> tuple[int, bool]:
    """How many lines come, and whether the answer ends as a whole one does: as curl sees it, with exit code 0."""
    connection = HTTPConnection("127.0.0.1", web.port, timeout=settings.DATABASE_TIMEOUT_ADMIN + SPARE_S)
    try:
        connection.request("GET", "/admin/orders/order/export/", headers={"Cookie": f"sessionid={web.session}"})
        answer = connection.getresponse()
        assert answer.status == 200
        lines = answer.read(10_000).count(b"\n")
        in_the_middle()
        while text := answer.read(100_000):
            lines += text.count(b"\n")
    except (HTTPException, ConnectionError):
        return lines, False
    finally:
        connection.close()
    return lines, True


@pytest.mark.usefixtures("many_orders")
def test_an_export_that_is_not_disturbed_is_whole(web: WebProcess) -> None:
    lines, is_whole = export(web, lambda: None)
    assert lines > ORDERS
    assert is_whole


@pytest.mark.usefixtures("many_orders")
def test_an_export_whose_database_dies_does_not_look_whole(web: WebProcess) -> None:
    try:
        lines, is_whole = export(web, web.kill_postgres)
    finally:
        web.start_postgres()
    assert lines < ORDERS
    assert not is_whole


@pytest.mark.usefixtures("many_orders")
def test_an_export_whose_database_hangs_ends_in_time_and_does_not_look_whole(web: WebProcess) -> None:
    started = monotonic()
    try:
        lines, is_whole = export(web, web.freeze_postgres)
    finally:
        web.thaw_postgres()
    took_s = monotonic() - started
    wait_until(lambda: web.order().status == 202, within_s=5, what="it has noticed that the database answers again")
    assert lines < ORDERS
    assert not is_whole
    assert took_s < settings.DATABASE_TIMEOUT_ADMIN + SPARE_S
