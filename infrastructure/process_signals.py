"""How processes end: on which signals, and never later than their parent, even when the parent is killed."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

# Ctrl-C, a service manager or `kill`, and a closed terminal: each means that everything is to stop.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Long enough for an orderly end.
STOP_AGAIN_S = 3.0

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(with_signal: signal.Signals = signal.SIGTERM, parent: int | None = None) -> None:
    """Ask the kernel to send us `with_signal` when our parent ends (Linux only; does nothing elsewhere).

    The request survives `exec` but not `fork`, and a change of user clears it, so call this after the change. Pass the
    parent's process id as `parent` if it is known: a parent that ended before this call is then noticed too. Raises OSError.
    """
    if sys.platform != "linux":
        return
    if parent is None:
        parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # It ended before our request, so no signal would ever come.
        os._exit(1)


def end_process(code: int) -> NoReturn:
    """Flush logs and output, and end at once without shutting the interpreter down.

    For a process with threads that are not Python's own: Python ends a thread that asks for its lock during shutdown, and
    Rust turns that into SIGABRT. `atexit` hooks are not called, so close everything first.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # The reader may be gone.
        with suppress(OSError):
            stream.flush()
    os._exit(code)


async def run_until_stopped(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it ends, or until SIGTERM or SIGINT cancels it, which counts as an orderly end."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def stop() -> None:
        task.cancel()
        # A cancellation is lost when a child task fails at the same time (asyncio.TaskGroup, Python 3.11).
        loop.call_later(STOP_AGAIN_S, stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with suppress(asyncio.CancelledError):
        await work()
