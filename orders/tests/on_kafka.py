"""What tests on a real Kafka share: the roles as processes, and a look at what stands in a topic."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import TopicPartition
from django.conf import settings

from orders.executions.kafka_recorder import UpdateRecorder
from orders.kafka.clients import Record, new_consumer, read_batch
from orders.kafka.topics import EXECUTIONS, ORDER_UPDATES, Topic, consumer_lag, new_admin
from orders.models import FeedPosition
from testsupport.database import database_url
from testsupport.simulator_process import SimulatorProcess
from testsupport.waiting import wait_until


class Roles:
    """Commands as processes of their own, which end with the test."""

    def __init__(self, **environment: str) -> None:
        self.environment = environment
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *commands: str) -> list["subprocess.Popen[bytes]"]:
        """One process for each command of manage.py."""
        environment = os.environ | {"DATABASE_URL": database_url()} | self.environment
        started = [subprocess.Popen([sys.executable, "manage.py", command], env=environment) for command in commands]
        self.started += started
        return started

    def stop(self) -> None:
        for process in self.started:
            process.kill()
        for process in self.started:
            process.wait()


@contextmanager
def roles(**environment: str) -> Iterator[Roles]:
    running = Roles(**environment)
    try:
        yield running
    finally:
        running.stop()


def all_messages(topic: Topic) -> list[Record]:
    """Everything that stands in the topic now; of each partition in its order."""
    consumer = new_consumer(f"test-{uuid.uuid4()}")
    try:
        partitions = consumer.list_topics(topic.full_name, timeout=10).topics[topic.full_name].partitions
        ends = {}
        for number in partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic.full_name, number), timeout=10)
            if high > low:
                ends[number] = high
        consumer.assign([TopicPartition(topic.full_name, number, 0) for number in ends])
        found: list[Record] = []
        while ends:
            for record in read_batch(consumer, 1000, 10.0):
                found.append(record)
                if record.offset + 1 >= ends.get(record.partition, 0):
                    ends.pop(record.partition, None)
        return found
    finally:
        consumer.close()


def committed_offsets(topic: Topic) -> int:
    """The sum of the offsets that the topic's group has committed."""
    consumer = new_consumer(topic.group or "")
    try:
        numbers = consumer.list_topics(topic.full_name, timeout=10).topics[topic.full_name].partitions
        partitions: list[Any] = consumer.committed([TopicPartition(topic.full_name, number) for number in numbers], timeout=10)
        return sum(max(0, partition.offset) for partition in partitions)
    finally:
        consumer.close()


def published() -> list[str]:
    return [json.loads(message.value)["event_id"] for message in all_messages(ORDER_UPDATES)]


def append_all(simulator: SimulatorProcess) -> None:
    """Let everything that the exchange has to tell stand in the topic, and nobody record it."""
    with roles(EXCHANGE_URL=simulator.url) as running:
        running.start("run_update_consumer")
        wait_until(lambda: all(order["status"] == "filled" for order in simulator.book().values()))
        last = simulator.health()["last_sequence"]
        wait_until(lambda: FeedPosition.objects.filter(sequence=last).exists())


def record_all() -> None:
    """Record what stands in the topic, until it is all committed."""
    recorder = UpdateRecorder()
    recorder.consumer.subscribe([EXECUTIONS.full_name])
    wait_until(lambda: recorder.run_once() == 0 and consumer_lag(10)["executions"] == 0)
    recorder.consumer.close()


def members_with_work(topic: Topic) -> int:
    """How many members of the topic's group have partitions of it."""
    group = settings.KAFKA_PREFIX + (topic.group or "")
    # Held until the answer is there, which ends with it.
    admin = new_admin()
    members = admin.describe_consumer_groups([group])[group].result(10).members
    return sum(bool(member.assignment.topic_partitions) for member in members)
