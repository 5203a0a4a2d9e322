"""Serves the notification service with granian, in one event loop and one process.

At SIGTERM granian's own process manager drops open WebSockets before the application is told. Embedded, it leaves the order
to us: first every client gets its close frame, then the server stops.
"""

import asyncio
import signal

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from infrastructure import addresses
from infrastructure.sockets import allow_many_sockets
from notifications.routing import create_application
from notifications.service import Service

# Granian's log goes where ours goes.
LOGGING = {"loggers": {"_granian": {"propagate": True}}}
# Connections that are not WebSockets yet, silent ones included. Together with MAX_CONNECTIONS they stay below 4,096 open files,
# which a process may have nearly everywhere.
MAX_REQUESTS = 2000
# Connections that wait to be accepted: as many as Linux allows by default.
BACKLOG = 4096
# Limits on the head of a request, in milliseconds and bytes. A silent connection is closed after the same time.
HEADS = HTTP1Settings(header_read_timeout=10_000, max_buffer_size=65536)


def run(port: int) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Raises AddressError."""
    host = addresses.numeric_host()
    addresses.check_exposure(host)
    # Granian opens its port with SO_REUSEPORT, so two services could share it, and each would get some of the clients.
    addresses.listener("NOTIFICATIONS_PORT", host, port).close()
    allow_many_sockets()
    return asyncio.run(_serve(host, port))


async def _serve(host: str, port: int) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    service = Service()
    server = Server(
        create_application(service),
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HEADS,
        backpressure=MAX_REQUESTS,
        backlog=BACKLOG,
        log_level=LogLevels.error,
        log_dictconfig=LOGGING,
    )
    serving = asyncio.create_task(server.serve())
    waiting = {serving, asyncio.create_task(stopping.wait()), asyncio.create_task(service.failed.wait())}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await service.stop()
    server.stop()  # type: ignore[no-untyped-call]
    await serving
    return 0 if stopping.is_set() else 1
