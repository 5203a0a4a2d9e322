import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from orders.executions.kafka_recorder import UpdateRecorder
from orders.kafka.topics import DEAD_EXECUTIONS, EXECUTIONS, wait_for_topics


class Command(BaseCommand):
    help = "Applies the reports in the topic `executions` (ORDER_TRANSPORT=kafka). Run at most one per partition."

    def handle(self, *args: Any, **options: Any) -> None:
        wait_for_topics(EXECUTIONS, DEAD_EXECUTIONS)
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        UpdateRecorder().run(stopping.is_set)
