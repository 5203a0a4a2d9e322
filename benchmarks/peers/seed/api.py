"""The original brief's design, unchanged: FastAPI, SQLAlchemy, and a background task that blocks while the exchange answers.

It has no retries, and its answer waits only for the commit.
"""

import httpx
from fastapi import BackgroundTasks, FastAPI
from fastapi_orders import DATABASE, EXCHANGE_ORDERS, SEND_TIMEOUT_S, Base, NewOrder, Order, answer, placement
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

engine = create_engine(DATABASE.replace("postgresql://", "postgresql+psycopg://"))
Base.metadata.create_all(engine)
app = FastAPI()


@app.post("/orders", status_code=202)
async def create_order(new: NewOrder, background: BackgroundTasks) -> dict[str, object]:
    order = Order(**new.model_dump())
    with Session(engine, expire_on_commit=False) as session:
        session.add(order)
        session.commit()
    background.add_task(place_order, order.id)
    return answer(order)


async def place_order(order_id: int) -> None:
    with Session(engine) as session:
        order = session.get_one(Order, order_id)
        try:
            # This blocks the event loop, and with it every other request: that is the design being measured.
            httpx.post(EXCHANGE_ORDERS, json=placement(order), timeout=SEND_TIMEOUT_S).raise_for_status()  # noqa: ASYNC210
            order.status = "completed"
        except httpx.HTTPError as error:
            order.status, order.error_message = "failed", str(error)
        session.commit()
