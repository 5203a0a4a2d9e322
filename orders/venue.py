"""The venue that all orders go to. Another venue's gateway is chosen here, and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.conf import settings

from exchange.gateway import Gateway
from exchange.http_gateway import HttpGateway

# So many look-ups are made at once by processes that place nothing, whatever PLACEMENT_CONCURRENCY is.
LOOK_UPS_AT_ONCE = 50


@asynccontextmanager
async def open_gateway() -> AsyncIterator[Gateway]:
    """A gateway to the venue, closed at the end."""
    max_connections = max(settings.PLACEMENT_CONCURRENCY, LOOK_UPS_AT_ONCE)
    gateway = HttpGateway(settings.EXCHANGE_URL, settings.EXCHANGE_TIMEOUT, max_connections=max_connections)
    try:
        yield gateway
    finally:
        await gateway.close()
