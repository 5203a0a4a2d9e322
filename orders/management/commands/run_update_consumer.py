import asyncio
import signal
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from exchange.http_gateway import HttpGateway
from orders.update_consumer import UpdateConsumer


class Command(BaseCommand):
    help = "Follows the exchange's execution feed. One instance is active; others wait to take over."

    def handle(self, *args: Any, **options: Any) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(follow())


async def follow() -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    gateway = HttpGateway(settings.EXCHANGE_URL, timeout_s=settings.EXCHANGE_TIMEOUT)
    try:
        await UpdateConsumer(settings.EXCHANGE_URL, gateway).run()
    finally:
        await gateway.close()
