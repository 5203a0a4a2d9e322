"""Helpers for tests of the API: valid orders, clients with real tokens, and counts of what was stored."""

import json
from typing import Any

from django_q.models import OrmQ
from knox.models import AuthToken
from rest_framework.test import APIClient

from orders.models import Order, OrderEvent

MARKET: dict[str, Any] = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100}
LIMIT: dict[str, Any] = {"type": "limit", "side": "sell", "instrument": "TSLA_2025_06", "limit_price": "250.50", "quantity": 50}
NOTHING = {"orders": 0, "events": 0, "wake_ups": 0}


def token_for(account: Any) -> str:
    # Without an expiry, since some tests move the clock by years.
    _, token = AuthToken.objects.create(account, expiry=None)
    return str(token)


def client_for(account: Any) -> APIClient:
    """A client with a token of this account, checked by the server like any other."""
    return APIClient(HTTP_AUTHORIZATION=f"Token {token_for(account)}")


def post(client: Any, body: Any, path: str = "/orders", **headers: str) -> Any:
    """Send a POST and return the response; a `body` of text or bytes is sent as it is, anything else as JSON."""
    raw = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(path, raw, content_type="application/json", headers=headers)


def stored() -> dict[str, int]:
    """How many orders, events and wake-ups there are."""
    return {"orders": Order.objects.count(), "events": OrderEvent.objects.count(), "wake_ups": OrmQ.objects.count()}
