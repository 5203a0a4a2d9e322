"""What a person or a test may ask the simulated exchange for: its options, its book and its health."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from exchange import untrusted
from exchange.simulator.book import describe
from exchange.simulator.exchange import SimulatedExchange
from exchange.simulator.faults import BadOption
from exchange.untrusted import BadValue

ORDERS_PER_WRITE = 500
# In the order in which they are executed.
ACTIONS: dict[str, Callable[[SimulatedExchange], None]] = {
    "close": SimulatedExchange.shut,
    "open": SimulatedExchange.reopen,
    "new_session": SimulatedExchange.begin_session,
    "cut_feed": lambda exchange: exchange.cut_feeds(),
}
# These paths answer even while the exchange is closed.
PATHS = ("/health", "/control", "/book")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_routes(app: web.Application, exchange: SimulatedExchange) -> None:
    """Add /health, and /control and /book for loopback names only."""

    async def health(_request: web.Request) -> web.StreamResponse:
        book = exchange.book
        return json_answer(
            200, {"session_id": book.session_id, "last_sequence": book.last_sequence, "orders": len(book.in_order)}
        )

    async def show_options(_request: web.Request) -> web.StreamResponse:
        return json_answer(200, asdict(exchange.faults))

    async def change_options(request: web.Request) -> web.StreamResponse:
        try:
            wishes = untrusted.load_object(await request.read())
            actions = [action for name, action in ACTIONS.items() if _read_action(wishes, name)]
            exchange.faults = exchange.faults.changed(wishes)
        except (BadOption, BadValue) as error:
            return json_answer(400, {"reason": str(error)})
        for action in actions:
            action(exchange)
        return json_answer(200, asdict(exchange.faults))

    async def show_book(request: web.Request) -> web.StreamResponse:
        """All orders in order of arrival, one JSON object per line. Changes made meanwhile may or may not be included."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        in_order = exchange.book.in_order
        for start in range(0, len(in_order), ORDERS_PER_WRITE):
            lines = [
                orjson.dumps(
                    {
                        "number": order.number,
                        **describe(order),
                        "times_received": order.times_received,
                        "is_cancel_requested": order.is_cancel_requested,
                        "received_at": order.received_at,
                        "report_lies": order.report_lies,
                        "look_up_lies": order.look_up_lies,
                    },
                    option=orjson.OPT_APPEND_NEWLINE,
                )
                for order in in_order[start : start + ORDERS_PER_WRITE]
            ]
            await response.write(b"".join(lines))
        return response

    app.router.add_get("/health", health)
    app.router.add_get("/control", loopback_only(show_options))
    app.router.add_post("/control", loopback_only(change_options))
    app.router.add_get("/book", loopback_only(show_book))


def json_answer(status: int, document: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def loopback_only(handler: Handler) -> Handler:
    """Refuse requests that a foreign page made a browser send, by DNS rebinding or across origins."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if not is_loopback("//" + request.host) or (origin is not None and not is_loopback(origin)):
            return json_answer(403, {"reason": "only for requests to and from this computer"})
        return await handler(request)

    return guarded


def is_loopback(address: str) -> bool:
    """Whether an address, such as http://localhost:8100 or //[::1], names this computer itself."""
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _read_action(wishes: dict[str, Any], name: str) -> bool:
    """Remove one action from the wishes; what remains are options."""
    wish = wishes.pop(name, False)
    if type(wish) is not bool:
        raise BadOption(f"{name}: must be true or false")
    return wish
