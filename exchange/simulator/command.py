"""The simulated exchange as a process: its command line, signals and shutdown."""

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from exchange.simulator.exchange import SimulatedExchange
from exchange.simulator.faults import add_fault_arguments, faults_from_arguments
from exchange.simulator.journal import JournalError
from exchange.simulator.server import create_app
from infrastructure.sockets import allow_many_sockets

# Simulated faults must stay on this computer.
HOST = "127.0.0.1"
# Connections that may wait to be accepted: as many as Linux allows by default.
BACKLOG = 4096
# How long an idle connection is kept: far longer than our gateway keeps it, so that none is closed while in use.
# Neither the time of a request's head nor the number of connections is limited, since only this computer can connect.
KEEP_ALIVE_S = 75.0
# How long open requests may take to finish, and then to be cancelled; the rest of the shutdown takes as long again.
SHUTDOWN_S = 0.1


def add_arguments(parser: argparse.ArgumentParser, *, port: int, data_dir: Path) -> None:
    """Define the command line, with the given defaults."""
    parser.add_argument("--port", type=int, default=port, help=f"port on {HOST}, 0 for any free one; default {port}")
    parser.add_argument("--data-dir", type=Path, default=data_dir, help=f"where the book is kept; default {data_dir}")
    parser.add_argument("--seed", type=int, default=0, help="seed of prices, fills and faults; default 0")
    parser.add_argument("--retention", type=int, default=100_000, help="reports kept for a replay; default 100000")
    # When a test is killed its end of the pipe closes, which ends its simulator.
    parser.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)
    add_fault_arguments(parser)


def print_address(url: str) -> None:
    sys.stdout.write(f"exchange simulator: listening on {url}\n")
    sys.stdout.flush()


def run(arguments: dict[str, Any], announce: Callable[[str], None] = print_address) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code, after one line on stderr when it is not 0."""
    if arguments["retention"] < 1:
        return _fail("--retention must be at least 1")
    allow_many_sockets()
    try:
        listener = _bind(arguments["port"])
    except (OSError, OverflowError) as error:
        return _fail(f"cannot listen on {HOST}:{arguments['port']}: {getattr(error, 'strerror', None) or error}")
    with listener:
        try:
            return asyncio.run(_serve(listener, arguments, announce))
        except (JournalError, OSError) as error:
            return _fail(str(error))


def _fail(what: str) -> int:
    sys.stderr.write(f"exchange simulator: {what}\n")
    return 1


def _bind(port: int) -> socket.socket:
    """Bind the port without listening yet: no client should wait while the book is read."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except BaseException:
        listener.close()
        raise
    return listener


async def _serve(listener: socket.socket, arguments: dict[str, Any], announce: Callable[[str], None]) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if arguments["until_stdin_closes"]:
        loop.add_reader(sys.stdin.fileno(), stopped.set)
    faults = faults_from_arguments(arguments)
    exchange = SimulatedExchange(arguments["data_dir"], faults, seed=arguments["seed"], retention=arguments["retention"])
    app = create_app(exchange)
    # An access log line would cost as much as the request itself.
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S, keepalive_timeout=KEEP_ALIVE_S
    )
    try:
        await runner.setup()
        exchange.start()
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        announce(f"http://{HOST}:{listener.getsockname()[1]}")
        waiting = [asyncio.create_task(event.wait()) for event in (stopped, exchange.failed)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
    finally:
        exchange.cut_feeds()
        await runner.cleanup()
        exchange.close()
    return 1 if exchange.failed.is_set() else 0
