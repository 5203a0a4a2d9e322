"""The address of the live order events, to which `static/orders/live.js` connects."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest


def live_events_url(request: HttpRequest) -> str:
    """The WebSocket address of the notification service, as the browser that requested this page can reach it."""
    if settings.NOTIFICATIONS_URL:
        return str(settings.NOTIFICATIONS_URL)
    page = urlsplit(request.build_absolute_uri("/"))
    host = f"[{page.hostname}]" if ":" in (page.hostname or "") else page.hostname
    scheme = "wss" if request.is_secure() else "ws"
    return f"{scheme}://{host}:{settings.NOTIFICATIONS_PORT}/ws/orders"
