"""Producers and consumers as all processes here use them (librdkafka, its CONFIGURATION.md names the options)."""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from django.conf import settings

# Of the messages' formats in docs/kafka.md; a reader refuses a version that it does not know.
VERSION = "1"
# A message that the broker has not acknowledged by then has failed, and its sender decides what to do.
DELIVERY_TIMEOUT_S = 5.0
METADATA_REFRESH_S = 5.0
# The longest frame that the feed's reader lets in, with its headers.
MAX_MESSAGE_BYTES = 2 * 1024 * 1024
# librdkafka's word for "as the key says".
BY_KEY = -1
log = structlog.get_logger()


class BrokerUnavailable(Exception):
    """The broker did not acknowledge in time, or refused; nothing is known of the messages, which may be sent again."""


def common_options() -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS,
        "client.id": f"lemon-market-{socket.gethostname()}",
        "topic.metadata.refresh.interval.ms": int(METADATA_REFRESH_S * 1000),
        # Connections come back soon after a broker does.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1000,
        "log.connection.close": False,
        # Whoever uses a client says when it is unavailable; librdkafka itself would say so for every attempt to connect.
        "log_level": 2,
        **settings.KAFKA_OPTIONS,
    }


def new_producer(**options: Any) -> Producer:
    """One that the broker's own repeats do not double or reorder: idempotent, acknowledged by all in-sync replicas."""
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

    Partitions move one by one when members come and go (cooperative rebalance, KIP-429); all others go on being read.
    """
    careful = {
        "group.id": settings.KAFKA_PREFIX + group,
        "partition.assignment.strategy": "cooperative-sticky",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # A member that was killed is missed after so long, and its partitions go to others.
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1500,
        # For so long, too, the others wait in a rebalance for one that says nothing, such as a name that a member had before
        # the broker was killed; the usual five minutes would be five minutes without executions. Who is put out because the
        # database kept it waiting joins again, and reads its messages again.
        "max.poll.interval.ms": 10_000,
        "allow.auto.create.topics": False,
    }
    return Consumer(common_options() | careful | options)


class AcknowledgedProducer:
    """Sends batches and waits until the broker has acknowledged every message of them."""

    def __init__(self) -> None:
        self._producer = new_producer()
        self._failure: KafkaError | None = None

    def send(self, topic: str, value: bytes, *, key: str | None, headers: dict[str, str], partition: int = BY_KEY) -> None:
        """Take one message in; `flush` tells whether it arrived. Raises BrokerUnavailable when too many wait already."""
        message: dict[str, Any] = {"key": key, "headers": [*headers.items()], "partition": partition}
        try:
            self._producer.produce(topic, value, on_delivery=self._delivered, **message)
        except BufferError:
            self.flush()
            self._producer.produce(topic, value, on_delivery=self._delivered, **message)
        except KafkaException as error:
            raise self._away(error.args[0]) from error

    def flush(self) -> None:
        """Wait until all that was sent is acknowledged. Raises BrokerUnavailable: then some of it may have arrived, or none."""
        # By then librdkafka itself has given every message up.
        remaining = self._producer.flush(DELIVERY_TIMEOUT_S + 2)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise self._away(failure)
        if remaining:
            raise BrokerUnavailable("no acknowledgement in time")

    def close(self) -> None:
        self._producer.close()

    def _away(self, error: KafkaError) -> BrokerUnavailable:
        if error.fatal():
            # An idempotent producer that cannot keep its promise any more refuses everything from then on.
            self._producer = new_producer()
        return BrokerUnavailable(error.str())

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None and not (self._failure is not None and self._failure.fatal()):
            self._failure = error


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it was read; text that is none is shown with replacement characters."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: bytes
    headers: Mapping[str, str]


def read_batch(consumer: Consumer, limit: int, wait_s: float) -> list[Record]:
    """Wait for a message, at most `wait_s`, and take with it what else is at hand. Errors are logged and left out."""
    # `consume` alone would wait for as long as it may for the batch to be full.
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
    """Where each partition goes on after these."""
    ends = {(record.topic, record.partition): record.offset + 1 for record in records}
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in ends.items()]
