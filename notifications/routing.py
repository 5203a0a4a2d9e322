"""What the notification service answers at which address."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path

from notifications.consumer import NothingHere, OrdersConsumer
from notifications.service import Service

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def create_application(service: Service) -> ProtocolTypeRouter:
    """The ASGI application of one service, which starts and stops with it."""

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
    """200 at /health/live while the process answers at all; the rest of HTTP is somebody else's port."""
    is_live = scope["path"] == "/health/live" and scope["method"] in {"GET", "HEAD"}
    answer = {"status": "ok"} if is_live else {"detail": "There is nothing here but the WebSocket /ws/orders."}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200 if is_live else 404, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(answer)})
