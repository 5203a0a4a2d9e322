import asyncio
from typing import Any

from django.core.management.base import BaseCommand

from infrastructure.process_signals import run_until_stopped
from orders.events.kafka_relay import OutboxRelay
from orders.kafka.topics import ORDER_UPDATES, wait_for_topics


class Command(BaseCommand):
    help = "Publishes every order event to the topic `order_updates` (ORDER_TRANSPORT=kafka). One is active; others stand by."

    def handle(self, *args: Any, **options: Any) -> None:
        wait_for_topics(ORDER_UPDATES)
        asyncio.run(run_until_stopped(OutboxRelay().run))
