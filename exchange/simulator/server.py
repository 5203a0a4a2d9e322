"""The simulated exchange's HTTP interface for orders, and the application with all of its routes."""

import asyncio
from datetime import UTC, datetime
from enum import Enum, auto

from aiohttp import web

from exchange.simulator import control, feed_server
from exchange.simulator.book import BookOrder
from exchange.simulator.control import Handler, json_answer
from exchange.simulator.exchange import SimulatedExchange
from exchange.simulator.magic_instruments import MAGIC_INSTRUMENTS, OFFLINE, REFUSE, TIMEOUT
from exchange.simulator.placements import ReceivedPlacement, read_placement
from exchange.untrusted import BadValue

EXCHANGE = web.AppKey("exchange", SimulatedExchange)
MAX_BODY_BYTES = 64 * 1024
# A placement that is never answered is held open for this long, unless its sender disconnects first.
HANG_S = 120.0
# How far an early report is ahead of its answer when there is no latency to divide.
EARLY_LEAD_S = 0.05
CLOSED = "the exchange is closed"


class Fault(Enum):
    """What goes wrong with one placement."""

    NONE = auto()
    UNAVAILABLE = auto()
    REFUSE = auto()
    CUT_BEFORE = auto()
    CUT_AFTER = auto()
    TIMEOUT = auto()


def create_app(exchange: SimulatedExchange) -> web.Application:
    """Build the whole application; the caller starts and closes the exchange.

    Serve it with `handler_cancellation=True`: a placement that hangs is then given up when its sender disconnects.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[turn_away_while_closed])
    app[EXCHANGE] = exchange
    app.router.add_post("/orders", place)
    app.router.add_get("/orders/{client_order_id}", look_up, allow_head=False)
    app.router.add_delete("/orders/{client_order_id}", cancel)
    control.add_routes(app, exchange)
    feed_server.add_routes(app, exchange)
    return app


@web.middleware
async def turn_away_while_closed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """While closed, answer 503 to everything but the simulator's own paths. A placement is then certainly not taken."""
    if request.app[EXCHANGE].is_open or request.path in control.PATHS:
        return await handler(request)
    if request.method != "POST":
        return json_answer(503, {"reason": CLOSED})
    try:
        placement = read_placement(await request.read())
    except BadValue as error:
        return json_answer(400, {"reason": str(error)})
    if request.app[EXCHANGE].book.find(placement.client_order_id) is not None:
        # It was taken earlier, and must never be reported as not taken.
        return _cut(request)
    return _not_taken(placement.client_order_id, CLOSED)


async def place(request: web.Request) -> web.StreamResponse:
    """POST /orders.

    An order is taken when it is received: `valid_until` is checked then, and the acknowledgement, `latency` later, may come
    after it. An order that is not taken is answered at once.
    """
    exchange = request.app[EXCHANGE]
    try:
        placement = read_placement(await request.read())
    except BadValue as error:
        return json_answer(400, {"reason": str(error)})
    order = exchange.book.find(placement.client_order_id)
    fault = _draw_fault(exchange, placement)
    if order is not None:
        return await _repeat(request, exchange, order, placement, fault)
    refusal = _turn_away(request, exchange, placement, fault)
    return refusal if refusal is not None else await _take(request, exchange, placement, fault)


def _turn_away(
    request: web.Request, exchange: SimulatedExchange, placement: ReceivedPlacement, fault: Fault
) -> web.StreamResponse | None:
    """The answer to a placement that does not enter the book; None when it does."""
    if fault is Fault.REFUSE:
        return _refer(422, placement.client_order_id, "refused by the exchange")
    if fault is Fault.UNAVAILABLE:
        return _not_taken(placement.client_order_id, "the exchange is not available")
    if fault is Fault.CUT_BEFORE:
        return _cut(request)
    if placement.valid_until <= datetime.fromtimestamp(exchange.clock(), UTC):
        return _not_taken(placement.client_order_id, "valid_until has passed")
    return None


async def _take(
    request: web.Request, exchange: SimulatedExchange, placement: ReceivedPlacement, fault: Fault
) -> web.StreamResponse:
    latency_s, lead_s = exchange.faults.latency, 0.0
    if placement.terms.instrument not in MAGIC_INSTRUMENTS and exchange.dice.random() < exchange.faults.early_report_rate:
        latency_s, lead_s = latency_s / 2, max(latency_s / 2, EARLY_LEAD_S)
    order = exchange.take(placement, latency_s)
    if fault is Fault.TIMEOUT:
        return await _hang(request)
    if fault is Fault.CUT_AFTER:
        return _cut(request)
    await exchange.acknowledged(order)
    if lead_s:
        await asyncio.sleep(lead_s)
    return json_answer(201, _acknowledgement(order))


async def _repeat(
    request: web.Request, exchange: SimulatedExchange, order: BookOrder, placement: ReceivedPlacement, fault: Fault
) -> web.StreamResponse:
    """Answer a placement with a known id. It may be cut off or left unanswered, but is never reported as not taken."""
    exchange.count_repeat(order)
    if placement.terms != order.terms:
        return _refer(409, order.client_order_id, "this client_order_id is known with other terms")
    if fault is Fault.TIMEOUT:
        return await _hang(request)
    if fault in (Fault.CUT_BEFORE, Fault.CUT_AFTER):
        return _cut(request)
    await exchange.acknowledged(order)
    return json_answer(200, _acknowledgement(order))


async def look_up(request: web.Request) -> web.StreamResponse:
    """GET /orders/{client_order_id}. The totals include every report up to `last_sequence`, the newest of `session_id`."""
    exchange = request.app[EXCHANGE]
    order = _find(request, exchange)
    return order if isinstance(order, web.Response) else json_answer(200, exchange.answer_to_look_up(order))


async def cancel(request: web.Request) -> web.StreamResponse:
    """DELETE /orders/{client_order_id}. The result comes on the feed."""
    exchange = request.app[EXCHANGE]
    order = _find(request, exchange)
    if isinstance(order, web.Response):
        return order
    if not order.is_open:
        return _refer(409, order.client_order_id, f"too late: the order is {order.status.value}")
    exchange.request_cancel(order)
    return json_answer(202, _acknowledgement(order))


def _find(request: web.Request, exchange: SimulatedExchange) -> BookOrder | web.Response:
    """The order named in the path, or an error response when there is none or the look-up is to fail."""
    if exchange.dice.random() < exchange.faults.look_up_failure_rate:
        return json_answer(500, {"reason": "internal error"})
    client_order_id = request.match_info["client_order_id"]
    return exchange.book.find(client_order_id) or _refer(404, client_order_id, "there is no such order")


def _refer(status: int, client_order_id: str, reason: str) -> web.Response:
    # The id lets the sender notice an answer that belongs to another request.
    return json_answer(status, {"client_order_id": client_order_id, "reason": reason})


def _not_taken(client_order_id: str, reason: str) -> web.Response:
    return json_answer(503, {"placed": False, "client_order_id": client_order_id, "reason": reason})


def _acknowledgement(order: BookOrder) -> dict[str, str]:
    return {
        "exchange_order_id": order.exchange_order_id,
        "client_order_id": order.client_order_id,
        "status": order.status.value,
    }


def _draw_fault(exchange: SimulatedExchange, placement: ReceivedPlacement) -> Fault:
    """Roll the dice once; a magic instrument always has its own fault and no other."""
    instrument, faults = placement.terms.instrument, exchange.faults
    if instrument in MAGIC_INSTRUMENTS:
        return {REFUSE: Fault.REFUSE, OFFLINE: Fault.UNAVAILABLE, TIMEOUT: Fault.TIMEOUT}.get(instrument, Fault.NONE)
    roll = exchange.dice.random()
    for fault, rate in (
        (Fault.UNAVAILABLE, faults.unavailable_rate),
        (Fault.REFUSE, faults.refuse_rate),
        (Fault.CUT_BEFORE, faults.cut_rate / 2),
        (Fault.CUT_AFTER, faults.cut_rate / 2),
        (Fault.TIMEOUT, faults.timeout_rate),
    ):
        roll -= rate
        if roll < 0:
            return fault
    return Fault.NONE


async def _hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(HANG_S)
    return _cut(request)


def _cut(request: web.Request) -> web.StreamResponse:
    """Drop the connection; the returned response can no longer be written."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
