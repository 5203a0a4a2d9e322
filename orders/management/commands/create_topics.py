import time
from typing import Any

from confluent_kafka import KafkaException
from django.core.management.base import BaseCommand, CommandError, CommandParser

from orders.kafka.topics import create_topics, new_admin

POLL_S = 0.5


class Command(BaseCommand):
    help = "Creates missing Kafka topics and leaves existing ones as they are. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--partitions", type=int, default=12, help="of each topic, which bounds how many instances have work (default: 12)"
        )
        parser.add_argument("--replication", type=int, help="copies of each message; default: the cluster's own")
        parser.add_argument("--retention-hours", type=float, help="default: orders 1 day, dead executions 90 days, others 7 days")
        parser.add_argument(
            "--wait", type=float, default=0.0, metavar="SECONDS", help="how long to wait for a broker that is starting"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for name in ("partitions", "replication"):
            if options[name] is not None and options[name] < 1:
                raise CommandError(f"--{name} must be at least 1.")
        retention_hours = options["retention_hours"]
        if retention_hours is not None and not 0 < retention_hours < 1e6:
            raise CommandError("--retention-hours must be above 0.")
        retention_ms = retention_hours and int(retention_hours * 3_600_000)
        self._wait_for_broker(options["wait"])
        try:
            created = create_topics(options["partitions"], options["replication"], retention_ms)
        except KafkaException as error:
            raise CommandError(f"The topics cannot be created: {error.args[0].str()}") from error
        self.stdout.write(f"Created {', '.join(created)}." if created else "All topics exist.")

    def _wait_for_broker(self, seconds: float) -> None:
        admin = new_admin()
        deadline = time.monotonic() + seconds
        while True:
            try:
                admin.list_topics(timeout=2)
                return
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise CommandError(f"No Kafka broker answers: {error.args[0].str()}") from error
            time.sleep(POLL_S)
