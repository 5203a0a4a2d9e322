"""The producers and consumers that all our processes use (librdkafka; its CONFIGURATION.md explains the options)."""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from django.conf import settings

# The version of the message formats in docs/kafka.md. Readers refuse unknown versions.
VERSION = "1"
# A message that the broker has not acknowledged in this time has failed, and its sender decides what to do.
DELIVERY_TIMEOUT_S = 5.0
METADATA_REFRESH_S = 5.0
# Large enough for the longest frame that the feed's reader accepts, with its headers.
MAX_MESSAGE_BYTES = 2 * 1024 * 1024
# librdkafka's value for "choose the partition by the key".
BY_KEY = -1
log = structlog.get_logger()


class BrokerUnavailable(Exception):
    """The broker did not acknowledge in time, or refused. The messages may have arrived or not, and may be sent again."""


def common_options() -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS,
        "client.id": f"lemon-market-{socket.gethostname()}",
        "topic.metadata.refresh.interval.ms": int(METADATA_REFRESH_S * 1000),
        # Reconnect soon after a broker is back.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1000,
        "log.connection.close": False,
        # Our own code logs when Kafka is unavailable; librdkafka would log every attempt to connect.
        "log_level": 2,
        **settings.KAFKA_OPTIONS,
    }


def new_producer(**options: Any) -> Producer:
    """A producer whose own retries neither double nor reorder messages: idempotent, acknowledged by all in-sync replicas."""
    reliable = {
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "delivery.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
        "message.max.bytes": MAX_MESSAGE_BYTES,
    }
    return Producer(common_options() | reliable | options)


def new_consumer(group: str, **options: Any) -> Consumer:
    """A member of `group` (without the prefix) that commits only what it is told to.

    When members come and go, partitions move one by one, and all others are still read (cooperative rebalance, KIP-429).
    """
    careful = {
        "group.id": settings.KAFKA_PREFIX + group,
        "partition.assignment.strategy": "cooperative-sticky",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # After this time without a heartbeat a member counts as dead, and its partitions go to others.
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1500,
        # A rebalance waits this long for a silent member, such as the old id of a member from before the broker was killed.
        # The default of five minutes would mean five minutes without executions. A member that is excluded because the
        # database kept it waiting rejoins and reads its messages again.
        "max.poll.interval.ms": 10_000,
        "allow.auto.create.topics": False,
    }
    return Consumer(common_options() | careful | options)


class AcknowledgedProducer:
    """Sends batches and waits until the broker has acknowledged every message in them."""

    def __init__(self) -> None:
        self._producer = new_producer()
        self._failure: KafkaError | None = None

    def send(self, topic: str, value: bytes, *, key: str | None, headers: dict[str, str], partition: int = BY_KEY) -> None:
        """Queue one message; `flush` tells whether it arrived. If the queue is full, flush it first. Raises BrokerUnavailable."""
        message: dict[str, Any] = {"key": key, "headers": [*headers.items()], "partition": partition}
        try:
            self._producer.produce(topic, value, on_delivery=self._delivered, **message)
        except BufferError:
            self.flush()
            self._producer.produce(topic, value, on_delivery=self._delivered, **message)
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from error

    def flush(self) -> None:
        """Wait until all sent messages are acknowledged. Raises BrokerUnavailable; any of them may have arrived even then."""
        # By the end of this time librdkafka itself has given up every message.
        remaining = self._producer.flush(DELIVERY_TIMEOUT_S + 2)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise self._unavailable(failure)
        if remaining:
            raise BrokerUnavailable("no acknowledgement in time")

    def close(self) -> None:
        self._producer.close()

    def _unavailable(self, error: KafkaError) -> BrokerUnavailable:
        if error.fatal():
            # After a fatal error an idempotent producer refuses all further messages.
            self._producer = new_producer()
        return BrokerUnavailable(error.str())

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None and not (self._failure is not None and self._failure.fatal()):
            self._failure = error


@dataclass(frozen=True, slots=True)
class Record:
    """A message as it was read. Invalid UTF-8 in its key and headers is shown with replacement characters."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: bytes
    headers: Mapping[str, str]


def read_batch(consumer: Consumer, limit: int, wait_s: float) -> list[Record]:
    """Wait at most `wait_s` for a message, then also take those already fetched. Errors are logged and left out."""
    # `consume` alone would wait the whole time for a full batch.
    first = consumer.poll(wait_s)
    messages = [] if first is None else [first, *consumer.consume(limit - 1, 0)]
    records = []
    for message in messages:
        error = message.error()
        if error is None:
            records.append(record_of(message))
        else:
            log.warning("kafka_unavailable", doing="read", reason=error.str())
    return records


def record_of(message: "Message[bytes, bytes]") -> Record:
    topic, partition, offset, key = message.topic(), message.partition(), message.offset(), message.key()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    named = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    headers = {name: (value or b"").decode(errors="replace") for name, value in named}
    return Record(
        topic, partition, offset, None if key is None else key.decode(errors="replace"), message.value() or b"", headers
    )


def next_offsets(records: Iterable[Record]) -> list[TopicPartition]:
    """The offset after these records, for each of their partitions."""
    ends = {(record.topic, record.partition): record.offset + 1 for record in records}
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in ends.items()]
