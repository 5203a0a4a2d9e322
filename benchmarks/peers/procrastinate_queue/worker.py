"""The Procrastinate worker: many placements at once on one event loop per process."""

import asyncio
import logging
import os
from functools import cache

import aiohttp
from fastapi_orders import DATABASE, EXCHANGE_ORDERS, MAX_RETRIES, SEND_TIMEOUT_S, Base, Order, placement
from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

# Each retry would log an error with its traceback: work that the other peers do not do.
logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
CONCURRENCY = int(os.environ["PEER_CONCURRENCY"])
RETRY = RetryStrategy(max_attempts=MAX_RETRIES, exponential_wait=2, retry_exceptions={aiohttp.ClientError, TimeoutError})

engine = create_async_engine(DATABASE.replace("postgresql://", "postgresql+asyncpg://"), pool_size=10, max_overflow=0)
queue = App(connector=PsycopgConnector(conninfo=DATABASE, min_size=4, max_size=10))


@cache
def http() -> aiohttp.ClientSession:
    """One session for all placements, created only once the event loop runs."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONCURRENCY), timeout=aiohttp.ClientTimeout(total=SEND_TIMEOUT_S)
    )


@queue.task(pass_context=True, retry=RETRY)
async def place_order(context: JobContext, order_id: int) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        order = await session.get_one(Order, order_id)
    try:
        # No database connection is held meanwhile.
        async with http().post(EXCHANGE_ORDERS, json=placement(order)) as response:
            response.raise_for_status()
    except (aiohttp.ClientError, TimeoutError) as error:
        if context.job.attempts < MAX_RETRIES:
            raise
        await settle(order_id, "failed", str(error))
    else:
        await settle(order_id, "completed", None)


async def settle(order_id: int, status: str, error_message: str | None) -> None:
    async with AsyncSession(engine) as session:
        order = await session.get_one(Order, order_id)
        order.status, order.error_message = status, error_message
        await session.commit()


async def prepare() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    async with queue.open_async():
        await queue.schema_manager.apply_schema_async()


if __name__ == "__main__":
    asyncio.run(prepare())
