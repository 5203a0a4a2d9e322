"""Measures the way from the exchange's feed into the Kafka topic `executions`."""

import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.children import BenchmarkError, run
from benchmarks.contenders import OURS, UPDATES, Contender
from benchmarks.figures import Figure
from benchmarks.measure import Measure
from benchmarks.measures.notifying import made_up_orders, start_replay
from benchmarks.stage import Stage
from devstack import embedded_kafka
from devstack.free_ports import free_port

TOPIC = "executions"
WARM_UP_S = 2.0
READY_S = 60.0
ANSWER_S = 5.0


def append(stage: Stage, contender: Contender) -> list[Figure]:
    """Send as many reports as the update consumer takes; each counts once the broker has acknowledged it."""
    if not embedded_kafka.is_available():
        raise BenchmarkError(embedded_kafka.HOW_TO_GET_IT)
    feed_port, broker_port = free_port(), free_port()
    servers = f"127.0.0.1:{broker_port}"
    transport = {"ORDER_TRANSPORT": "kafka", "KAFKA_BOOTSTRAP_SERVERS": servers}
    data_dir = stage.directory / "kafka"
    shutil.rmtree(data_dir, ignore_errors=True)
    with (
        TemporaryDirectory() as directory,
        stage.turn(contender, exchange=False, EXCHANGE_URL=f"http://127.0.0.1:{feed_port}", **transport) as turn,
    ):
        orders = Path(directory, "orders")
        orders.write_text(made_up_orders())
        turn.children.start("kafka", [sys.executable, "-m", "devstack.embedded_kafka", str(data_dir), str(broker_port)])
        making = [sys.executable, "manage.py", "create_topics", "--wait", f"{READY_S:g}"]
        run(making, within_s=2 * READY_S, environment=turn.environment)
        start_replay(turn.children, feed_port, orders, 0)
        turn.start(UPDATES)
        topic = Topic(servers)
        try:
            turn.children.wait_until(topic.length, "the first report is in the topic", READY_S)
            time.sleep(WARM_UP_S)
            begun_at, before = time.monotonic(), topic.length()
            time.sleep(stage.options.seconds)
            appended, took_s = topic.length() - before, time.monotonic() - begun_at
        finally:
            topic.close()
    return [Figure("appended", appended / took_s, "reports/s")]


class Topic:
    """The topic as the broker reports it."""

    def __init__(self, servers: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": "benchmark", "log_level": 2})

    def length(self) -> int:
        """How many messages are in the topic. Raises BenchmarkError."""
        try:
            partitions = self._consumer.list_topics(TOPIC, timeout=ANSWER_S).topics[TOPIC].partitions
            ends = [self._consumer.get_watermark_offsets(TopicPartition(TOPIC, each), timeout=ANSWER_S) for each in partitions]
        except KafkaException as error:
            raise BenchmarkError(f"the broker does not report the length of {TOPIC}: {error}") from error
        return sum(end - first for first, end in ends)

    def close(self) -> None:
        self._consumer.close()


APPENDING = Measure(
    "append",
    "Feed to the Kafka topic",
    "The replayed feed at full speed, the update consumer, one broker; a report counts once the broker has it. The upper bound "
    "is what the feed itself can send to one reader (see the generators under `updates`).",
    {OURS: append},
)
