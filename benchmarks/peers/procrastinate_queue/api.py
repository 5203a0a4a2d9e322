"""FastAPI with async SQLAlchemy on asyncpg; the placement is a Procrastinate job in the same PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_orders import NewOrder, Order, answer
from sqlalchemy.ext.asyncio import AsyncSession
from worker import engine, place_order, queue


@asynccontextmanager
async def queue_open(_app: FastAPI) -> AsyncIterator[None]:
    async with queue.open_async():
        yield
    await engine.dispose()


app = FastAPI(lifespan=queue_open)


@app.post("/orders", status_code=202)
async def create_order(new: NewOrder) -> dict[str, object]:
    order = Order(**new.model_dump())
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(order)
        await session.commit()
    await place_order.defer_async(order_id=order.id)
    return answer(order)
