"""An exchange that answers look-ups with whatever it is told to, as the simulated one never would."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from orders.models import Order
from orders.tests.serving import served


class AnsweringExchange:
    """`answers` are status and body by order id; every other order is answered with `usual`, or 404."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.usual: tuple[int, bytes] | None = None
        self.asked: Counter[str] = Counter()

    def tell(self, order: Order, **changes: Any) -> None:
        """Answer about this order with 200, what is so, and what is changed of it."""
        document = {"client_order_id": str(order.id), "exchange_order_id": order.exchange_order_id or "X1", "status": "new"}
        totals = {"filled_quantity": 0, "average_price": None, "session_id": "s1", "last_sequence": 1}
        self.answers[str(order.id)] = 200, json.dumps(document | totals | changes).encode()

    async def look_up(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        self.asked[id] += 1
        unknown = 404, json.dumps({"client_order_id": id, "reason": "there is no such order"}).encode()
        status, body = self.answers.get(id, self.usual or unknown)
        return web.Response(status=status, body=body, content_type="application/json")


@contextmanager
def answering_exchange() -> Iterator[AnsweringExchange]:
    exchange = AnsweringExchange()

    def make_app() -> web.Application:
        app = web.Application()
        app.router.add_get("/orders/{id}", exchange.look_up)
        return app

    with served(make_app) as exchange.url:
        yield exchange
