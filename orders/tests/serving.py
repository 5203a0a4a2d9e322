"""An application of a test's own, served on a thread beside it."""

import asyncio
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from aiohttp import web


@contextmanager
def served(make_app: Callable[[], web.Application]) -> Iterator[str]:
    """Its address, for as long as the block lasts."""
    started: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        runner = web.AppRunner(make_app(), handler_cancellation=True, shutdown_timeout=0.1)
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
