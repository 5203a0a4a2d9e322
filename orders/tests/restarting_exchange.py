"""An exchange that begins a new session without ending the connection; the simulated one ends it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from orders.models import Order
from orders.tests.serving import served

ORDER = web.AppKey("order", dict[str, Any])


@contextmanager
def restarting_exchange(order: Order) -> Iterator[str]:
    """Its address. Session "one" fills 40 of the order, session "two" the other 60, both from sequence 1 on."""

    def make_app() -> web.Application:
        app = web.Application()
        app[ORDER] = {"client_order_id": str(order.id), "exchange_order_id": "X1", "account": str(order.account_id)}
        app.router.add_get("/executions", feed)
        app.router.add_get("/orders/{id}", look_up)
        return app

    with served(make_app) as url:
        yield url


async def feed(request: web.Request) -> web.WebSocketResponse:
    order = request.app[ORDER]
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    if request.query.get("session") is None:
        await socket.send_json(session("one", 2))
        await socket.send_json(report(order, 1, "new", None, 0))
        await socket.send_json(report(order, 2, "partially_filled", 40, 40))
    await socket.send_json(session("two", 1))
    await socket.send_json(report(order, 1, "filled", 60, 100))
    await socket.receive()
    return socket


async def look_up(request: web.Request) -> web.Response:
    state = {"status": "partially_filled", "filled_quantity": 40, "average_price": "10", "session_id": "two", "last_sequence": 0}
    return web.json_response(request.app[ORDER] | state)


def session(id: str, last_sequence: int) -> dict[str, Any]:
    return {"type": "session", "session_id": id, "first_sequence": 1, "last_sequence": last_sequence}


def report(order: dict[str, Any], sequence: int, kind: str, quantity: int | None, total: int) -> dict[str, Any]:
    price = quantity and "10"
    fill = {"last_quantity": quantity, "last_price": price, "filled_quantity": total, "average_price": price}
    named = {"sequence": sequence, "execution_id": f"{kind}-{sequence}", "type": kind}
    return order | named | fill | {"occurred_at": "2030-01-01T00:00:00Z", "reason": None}
