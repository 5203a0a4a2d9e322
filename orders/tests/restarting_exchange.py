"""An exchange that begins a new session without ending the connection; the simulated one ends it."""

import asyncio
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from orders.models import Order

ORDER = web.AppKey("order", dict[str, Any])


@contextmanager
def restarting_exchange(order: Order) -> Iterator[str]:
    """Its address. Session "one" fills 40 of the order, session "two" the other 60, both from sequence 1 on."""
    started: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        app = web.Application()
        app[ORDER] = {"client_order_id": str(order.id), "exchange_order_id": "X1", "account": str(order.account_id)}
        app.router.add_get("/executions", feed)
        app.router.add_get("/orders/{id}", look_up)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        done = asyncio.Event()
        started.put((runner.addresses[0][1], asyncio.get_running_loop(), done))
        await done.wait()
        await runner.cleanup()

    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(asyncio.run, serve())
        port, loop, done = started.get(timeout=10)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            loop.call_soon_threadsafe(done.set)
            serving.result()


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
