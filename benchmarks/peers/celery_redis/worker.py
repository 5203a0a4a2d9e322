"""The Celery worker, with green threads, since a placement mostly waits."""

import os
from typing import Any

import requests
from celery import Celery
from fastapi_orders import DATABASE, EXCHANGE_ORDERS, MAX_RETRIES, SEND_TIMEOUT_S, Base, Order, placement
from requests.adapters import HTTPAdapter
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

CONCURRENCY = int(os.environ["PEER_CONCURRENCY"])
RETRY_S = 1.0

app = Celery("bench", broker=os.environ["PEER_REDIS"])
# Tasks are acknowledged when they are done: otherwise a worker that dies loses its orders.
app.conf.update(task_ignore_result=True, task_acks_late=True, broker_connection_retry_on_startup=True)
engine = create_engine(DATABASE.replace("postgresql://", "postgresql+psycopg://"), pool_size=16, max_overflow=0)
http = requests.Session()
http.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=CONCURRENCY))


@app.task(bind=True, max_retries=MAX_RETRIES)
def place_order(self: Any, order_id: int) -> None:
    with Session(engine, expire_on_commit=False) as session:
        order = session.get_one(Order, order_id)
    try:
        # No database connection is held meanwhile.
        http.post(EXCHANGE_ORDERS, json=placement(order), timeout=SEND_TIMEOUT_S).raise_for_status()
    except requests.RequestException as error:
        if self.request.retries < MAX_RETRIES:
            raise self.retry(countdown=RETRY_S * 2**self.request.retries) from error
        settle(order_id, "failed", str(error))
    else:
        settle(order_id, "completed", None)


def settle(order_id: int, status: str, error_message: str | None) -> None:
    with Session(engine) as session:
        order = session.get_one(Order, order_id)
        order.status, order.error_message = status, error_message
        session.commit()


if __name__ == "__main__":
    Base.metadata.create_all(engine)
