"""What a django-q worker does for one order."""

import os
import time
from datetime import UTC, datetime, timedelta

import requests

from broker.models import Order

EXCHANGE_ORDERS = os.environ["PEER_EXCHANGE"] + "/orders"
SEND_TIMEOUT_S = 5.0
MAX_RETRIES = 3
RETRY_S = 0.2

# Each worker is a process and places one order at a time, over one connection.
http = requests.Session()


def place_order(order_id: int) -> None:
    order = Order.objects.get(pk=order_id)
    for attempt in range(MAX_RETRIES + 1):
        # django-q itself would retry only after its visibility timeout, minutes later.
        time.sleep(attempt and RETRY_S * 2**attempt)
        try:
            http.post(EXCHANGE_ORDERS, json=placement(order), timeout=SEND_TIMEOUT_S).raise_for_status()
        except requests.RequestException as error:
            order.status, order.error_message = "failed", str(error)
        else:
            order.status, order.error_message = "completed", None
            break
    order.save(update_fields=["status", "error_message"])


def placement(order: Order) -> dict[str, object]:
    return {
        "client_order_id": str(order.pk),
        "account": "bench",
        "type": order.type,
        "side": order.side,
        "instrument": order.instrument,
        "limit_price": None if order.limit_price is None else str(order.limit_price),
        "quantity": order.quantity,
        "valid_until": (datetime.now(UTC) + timedelta(seconds=SEND_TIMEOUT_S)).isoformat(),
    }
