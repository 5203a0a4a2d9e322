from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from devstack.embedded_kafka import KafkaError, become_broker
from infrastructure.addresses import AddressError, listener


class Command(BaseCommand):
    help = "Runs one node of Apache Kafka on 127.0.0.1, for trials: use it with KAFKA_BOOTSTRAP_SERVERS."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            listener("KAFKA_PORT", "127.0.0.1", settings.KAFKA_PORT).close()
            self.stdout.write(f"Kafka listens on 127.0.0.1:{settings.KAFKA_PORT}; Ctrl-C stops it.", ending="\n")
            self.stdout.flush()
            become_broker(settings.DATA_DIR, settings.KAFKA_PORT)
        except (AddressError, KafkaError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"Kafka cannot be started: {error}") from error
