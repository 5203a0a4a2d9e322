"""FastAPI with async SQLAlchemy on asyncpg; the placement is queued in Redis for Celery after the commit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_orders import DATABASE, NewOrder, Order, answer
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from worker import place_order

engine = create_async_engine(DATABASE.replace("postgresql://", "postgresql+asyncpg://"), pool_size=16)


@asynccontextmanager
async def closing_engine(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(lifespan=closing_engine)


@app.post("/orders", status_code=202)
async def create_order(new: NewOrder) -> dict[str, object]:
    order = Order(**new.model_dump())
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(order)
        await session.commit()
    # Called on the event loop, as in its documentation: a thread for each call would cost more than the short call itself.
    place_order.delay(order.id)
    return answer(order)
