"""An exchange that only reports fills, at any rate: `python -m benchmarks.feed_replay --port PORT --orders FILE`.

The simulated exchange does work for each of its reports, and could be slower than what is measured. Here a report is just
formatted bytes. FILE has one order per line: our id, the exchange's, and the account. Report n is about order n, starting over
after the last, so that a connection may ask for any position.
"""

import argparse
import asyncio
import math
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import orjson
from aiohttp import web

from exchange.simulator.report_log import text_frame

SESSION_ID = "replay"
TICK_S = 0.005
# At full speed, how many reports are made at once, and how many bytes may wait for the reader.
REPORTS_PER_WRITE = 250
FULL_BUFFER_BYTES = 256 * 1024


class Replay:
    """Sends `rate` reports a second, or as many as each reader takes if it is 0."""

    def __init__(self, orders: list[tuple[str, str, str]], rate: float) -> None:
        self.orders = orders
        self.rate = rate

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """WS /executions?after=SEQUENCE."""
        transport = request.transport
        socket = web.WebSocketResponse(compress=False, heartbeat=30)
        await socket.prepare(request)
        assert transport is not None
        session = {"type": "session", "session_id": SESSION_ID, "first_sequence": 1, "last_sequence": 0}
        transport.write(text_frame(orjson.dumps(session)))
        sending = asyncio.create_task(self.send(transport, int(request.query.get("after", "0"))))
        try:
            async for _ in socket:
                pass
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
        return socket

    async def send(self, transport: asyncio.WriteTransport, after: int) -> None:
        sequence, begun_at = after + 1, time.monotonic()
        while not transport.is_closing():
            if self.rate:
                await asyncio.sleep(TICK_S)
                due = after + math.floor((time.monotonic() - begun_at) * self.rate)
            else:
                await asyncio.sleep(0 if transport.get_write_buffer_size() < FULL_BUFFER_BYTES else TICK_S / 5)
                due = sequence - 1 + REPORTS_PER_WRITE * (transport.get_write_buffer_size() < FULL_BUFFER_BYTES)
            if due >= sequence:
                occurred_at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
                transport.write(b"".join([self.frame(number, occurred_at) for number in range(sequence, due + 1)]))
                sequence = due + 1

    def frame(self, sequence: int, occurred_at: str) -> bytes:
        """One more unit of the order is filled, at 10.00."""
        filled_before, number = divmod(sequence - 1, len(self.orders))
        client_order_id, exchange_order_id, account = self.orders[number]
        report = (
            f'{{"sequence":{sequence},"execution_id":"E{sequence}","client_order_id":"{client_order_id}",'
            f'"exchange_order_id":"{exchange_order_id}","account":"{account}","type":"partially_filled","last_quantity":1,'
            f'"last_price":"10.00","filled_quantity":{filled_before + 1},"average_price":"10","reason":null,'
            f'"occurred_at":"{occurred_at}"}}'
        )
        return text_frame(report.encode())


async def serve(port: int, replay: Replay) -> None:
    app = web.Application()
    app.router.add_get("/executions", replay.follow)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed_replay", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--orders", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="reports a second, 0 for as many as the reader takes")
    options = parser.parse_args()
    orders = [(ours, theirs, account) for ours, theirs, account in map(str.split, options.orders.read_text().splitlines())]
    asyncio.run(serve(options.port, Replay(orders, options.rate)))


if __name__ == "__main__":
    main()
