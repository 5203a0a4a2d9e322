"""The addresses of the notification service."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from notifications.consumer import NothingHere, OrdersConsumer
from notifications.metrics import registry
from notifications.service import Service

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def create_application(service: Service) -> ProtocolTypeRouter:
    """The ASGI application that serves, starts and stops one service."""

    async def lifespan(_scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        service.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await service.stop()
        await send({"type": "lifespan.shutdown.complete"})

    routes = [path("ws/orders", OrdersConsumer.as_asgi(service=service)), re_path("", NothingHere.as_asgi())]
    return ProtocolTypeRouter({"lifespan": lifespan, "http": probe, "websocket": URLRouter(routes)})


async def probe(scope: dict[str, Any], _receive: Receive, send: Send) -> None:
    """Answer /health/live with 200 as long as the process can answer at all, and /metrics; any other HTTP request gets 404."""
    status, kind = 200, b"application/json"
    match scope["path"] if scope["method"] in {"GET", "HEAD"} else None:
        case "/health/live":
            body = orjson.dumps({"status": "ok"})
        case "/metrics":
            kind, body = CONTENT_TYPE_LATEST.encode(), generate_latest(registry)
        case _:
            status, body = 404, orjson.dumps({"detail": "There is nothing here but the WebSocket /ws/orders."})
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})
