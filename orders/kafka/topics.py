"""The Kafka topics, and how far their readers are behind."""

import time
import uuid
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from django.conf import settings

from orders.kafka.clients import MAX_MESSAGE_BYTES, common_options, new_consumer

log = structlog.get_logger()

WAIT_S = 0.5
# A process that starts together with its broker has to wait a little. That is not worth a log line.
SILENT_S = 10.0
REQUEST_TIMEOUT_S = 3.0
DEFAULT_OF_CLUSTER = -1
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, the group that shares its messages (None: every reader has its own group), and how long it keeps messages."""

    name: str
    group: str | None
    retention_ms: int

    @property
    def full_name(self) -> str:
        return f"{settings.KAFKA_PREFIX}{self.name}"


# Wake-ups: the order rows are the truth, so one day of them is plenty.
ORDERS = Topic("orders", "exchange-consumers", DAY_MS)
# Recorders may be down for this long before open orders have to be looked up at the exchange.
EXECUTIONS = Topic("executions", "update-recorders", 7 * DAY_MS)
DEAD_EXECUTIONS = Topic("executions.dead", None, 90 * DAY_MS)
ORDER_UPDATES = Topic("order_updates", None, 7 * DAY_MS)
# All events go to one partition, however many the topic has. A client that was disconnected resumes after the last event that
# it saw, which works only if all see the events in the same order. Every notification service reads all of them anyway.
EVENTS_PARTITION = 0
TOPICS = (ORDERS, EXECUTIONS, DEAD_EXECUTIONS, ORDER_UPDATES)


# A longer text is not one of our ids.
MAX_KEY_LENGTH = 64


def message_key(order_id: uuid.UUID | str | None) -> str | None:
    """The key of every message about an order, which selects the partition: the order's id.

    The id may come from outside. None for a text that cannot be one: the message then goes to any partition.
    """
    key = None if order_id is None else str(order_id)
    return key if key and len(key) <= MAX_KEY_LENGTH else None


def new_admin() -> AdminClient:
    return AdminClient(common_options())


def create_topics(partitions: int, replication: int | None = None, retention_ms: int | None = None) -> list[str]:
    """Create the missing topics and return their names. Existing topics stay as they are.

    `replication` of None leaves the number of copies to the cluster (KIP-464). With three or more, two must have a message
    before it counts as acknowledged. Raises KafkaException.
    """
    common = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
    if replication is not None:
        common["min.insync.replicas"] = "2" if replication >= 3 else "1"
    wanted = [
        NewTopic(
            topic.full_name,
            num_partitions=1 if topic is ORDER_UPDATES else partitions,
            replication_factor=replication or DEFAULT_OF_CLUSTER,
            config=common | {"retention.ms": str(retention_ms or topic.retention_ms)},
        )
        for topic in TOPICS
    ]
    created = []
    # Keep a reference until the answers have arrived: the requests end with the client.
    admin = new_admin()
    for name, future in admin.create_topics(wanted, operation_timeout=REQUEST_TIMEOUT_S).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created


class TopicsWanted:
    """Checks repeatedly whether the broker has these topics. A problem is logged once, and only if it lasts."""

    def __init__(self, *topics: Topic) -> None:
        self._topics = topics
        self._admin = new_admin()
        self._logged = ""
        self._silent_until = time.monotonic() + SILENT_S

    def are_there(self) -> bool:
        """Whether the topics exist. Takes `REQUEST_TIMEOUT_S` at most."""
        problem = self._problem()
        if problem and problem != self._logged and time.monotonic() > self._silent_until:
            log.warning("waiting_for_kafka", problem=problem)
            self._logged = problem
        return not problem

    def _problem(self) -> str:
        try:
            known = self._admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        except KafkaException as error:
            return f"no broker at {settings.KAFKA_BOOTSTRAP_SERVERS}: {error.args[0].str()}"
        missing = [topic.full_name for topic in self._topics if topic.full_name not in known]
        return f"no topic {', '.join(missing)}: run manage.py create_topics" if missing else ""


def wait_for_topics(*topics: Topic) -> None:
    """Return once the broker is available and has these topics."""
    wanted = TopicsWanted(*topics)
    while not wanted.are_there():
        time.sleep(WAIT_S)


def consumer_lag(timeout_s: float) -> dict[str, int]:
    """How many messages wait for each group, by topic. Raises KafkaException when the broker does not answer in time.

    It uses consumers that never join their group. (An AdminClient would do as well, but librdkafka 2.16 crashed while one was
    used for this. That is assumed to be the cause and not proved.)
    """
    return {topic.name: lag_of(topic, timeout_s) for topic in TOPICS if topic.group is not None}


def lag_of(topic: Topic, timeout_s: float) -> int:
    consumer = new_consumer(topic.group or "")
    try:
        known = consumer.list_topics(timeout=timeout_s).topics.get(topic.full_name)
        partitions = [TopicPartition(topic.full_name, number) for number in (known.partitions if known else ())]
        lag = 0
        for committed in consumer.committed(partitions, timeout=timeout_s) if partitions else ():
            first, end = consumer.get_watermark_offsets(committed, timeout=timeout_s)
            # A group that has not committed yet begins with the oldest retained message.
            lag += end - max(committed.offset, first)
        return lag
    finally:
        consumer.close()
