import asyncio
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from infrastructure.process_signals import run_until_stopped
from orders.executions.update_consumer import UpdateConsumer
from orders.transport import transport
from orders.venue import open_gateway


class Command(BaseCommand):
    help = "Follows the exchange's execution feed. One instance is active; others wait to take over."

    def handle(self, *args: Any, **options: Any) -> None:
        if transport().uses_kafka:
            # librdkafka is loaded only where it is used.
            from orders.kafka.topics import EXECUTIONS, wait_for_topics  # noqa: PLC0415

            wait_for_topics(EXECUTIONS)
        asyncio.run(run_until_stopped(follow))


async def follow() -> None:
    async with open_gateway() as gateway:
        if transport().uses_kafka:
            from orders.executions.kafka_update_consumer import AppendingUpdateConsumer  # noqa: PLC0415

            await AppendingUpdateConsumer(settings.EXCHANGE_URL, gateway).run()
        else:
            await UpdateConsumer(settings.EXCHANGE_URL, gateway).run()
