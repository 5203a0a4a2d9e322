"""How processes end: on which signals, and that a child never outlives its parent, not even one that was killed."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

# Ctrl-C, a service manager or `kill`, and a terminal that is closed: each of them means to stop everything.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Long enough for what an orderly end has to do.
STOP_AGAIN_S = 3.0

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(with_signal: signal.Signals = signal.SIGTERM, parent: int | None = None) -> None:
    """Ask the kernel to send us `with_signal` when our parent ends (Linux; nothing happens elsewhere).

    It survives `exec` but not `fork`, and a change of user clears it, so call it after that. A parent that knows its own
    process id hands it down in `parent`: one that ended even before this call is then noticed too. Raises OSError.
    """
    if sys.platform != "linux":
        return
    if parent is None:
        parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # It ended before we could ask, and now no signal would ever come.
        os._exit(1)


def end_process(code: int) -> NoReturn:
    """End at once, after writing what was said, without taking Python apart.

    For a process with threads that are not Python's own: one that asks for Python's lock while Python is taken apart is ended
    by it, which Rust answers with SIGABRT. Hooks of `atexit` are not called, so everything has to be closed before.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # Whoever reads them may be gone.
        with suppress(OSError):
            stream.flush()
    os._exit(code)


async def run_until_stopped(work: Callable[[], Awaitable[None]]) -> None:
    """`work()` until it ends, or until SIGTERM or SIGINT cancels it, which is an orderly end."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def stop() -> None:
        task.cancel()
        # A cancel that comes together with an error of a child task is lost in it (asyncio.TaskGroup, Python 3.11).
        loop.call_later(STOP_AGAIN_S, stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with suppress(asyncio.CancelledError):
        await work()
