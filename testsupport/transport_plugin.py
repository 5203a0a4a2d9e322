"""A pytest plugin that runs tests on both transports, with a real Kafka if there is one.

A test that uses the fixture `transport` runs twice. On a machine without Kafka the second run is left out.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from confluent_kafka import KafkaException, TopicPartition

from devstack import embedded_kafka
from testsupport.kafka_broker import KafkaBroker, given_servers
from testsupport.waiting import wait_until

BOTH = ["django_q", "kafka"]
PARTITIONS = 3


@dataclass(frozen=True)
class Transport:
    """The transport of orders and events in a test; `prefix` is that of topics and groups."""

    name: str
    servers: str = ""
    prefix: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment for child processes, independent of the one in which the tests were started."""
        given = {"KAFKA_BOOTSTRAP_SERVERS": self.servers, "KAFKA_PREFIX": self.prefix} if self.is_kafka else {}
        return {"ORDER_TRANSPORT": self.name, **given}

    @property
    def is_kafka(self) -> bool:
        return self.name == "kafka"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without Kafka, skip one test with the reason on behalf of all that need it, and deselect the others."""
    ours = [] if embedded_kafka.is_available() or given_servers() else [item for item in items if needs_kafka(item)]
    if ours:
        ours[0].add_marker(pytest.mark.skip(reason=f"{len(ours)} tests need Kafka: {embedded_kafka.HOW_TO_GET_IT}"))
        left_out = set(ours[1:])
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def needs_kafka(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function):
        return False
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return "kafka" in parameters or bool({"kafka", "kafka_servers", "mortal_broker"} & set(item.fixturenames))


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Kafka that all tests share and none may harm."""
    if given_servers():
        yield given_servers()
        return
    broker = start_broker(tmp_path_factory)
    yield broker.servers
    broker.stop()


@pytest.fixture(scope="module")
def mortal_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker that the tests of a module may kill; each of them leaves it running."""
    broker = start_broker(tmp_path_factory)
    yield broker
    broker.stop()


def start_broker(tmp_path_factory: pytest.TempPathFactory) -> KafkaBroker:
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    return broker


def transport_for_processes(name: str, request: pytest.FixtureRequest) -> Transport:
    """A transport for child processes only, with unique topics and groups; our own settings stay unchanged."""
    return Transport(name) if name != "kafka" else fresh_kafka(request.getfixturevalue("kafka_servers"))


def fresh_kafka(servers: str) -> Transport:
    """Create new topics in the Kafka at `servers`."""
    # Django has to be ready first.
    from orders.kafka.clients import new_consumer  # noqa: PLC0415
    from orders.kafka.topics import TOPICS, create_topics  # noqa: PLC0415

    def can_be_read() -> bool:
        """Whether all partitions exist: they follow some time after their topic."""
        consumer = new_consumer("looking")
        try:
            for topic in TOPICS:
                for number in range(1 if topic.name == "order_updates" else PARTITIONS):
                    consumer.get_watermark_offsets(TopicPartition(topic.full_name, number), timeout=5.0)
        except KafkaException:
            return False
        finally:
            consumer.close()
        return True

    transport = Transport("kafka", servers, f"test-{uuid.uuid4()}-")
    with settings_of(transport):
        create_topics(partitions=PARTITIONS, replication=1)
        wait_until(can_be_read, within_s=30, what="the topics can be read")
    return transport


@contextmanager
def settings_of(transport: Transport) -> Iterator[None]:
    from django.test import override_settings  # noqa: PLC0415 - Django has to be ready first

    with override_settings(EMBEDDED_KAFKA=False, **transport.environment):
        yield


@contextmanager
def used_here(transport: Transport) -> Iterator[Transport]:
    """Use the transport in our own settings, and in the environment that a test passes to child processes."""
    with settings_of(transport), pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in transport.environment.items():
            monkeypatch.setenv(name, value)
        yield transport


@pytest.fixture(params=BOTH)
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """Each transport in turn."""
    with used_here(transport_for_processes(request.param, request)) as used:
        yield used


@pytest.fixture
def kafka(kafka_servers: str) -> Iterator[Transport]:
    """Kafka alone, for tests of what only Kafka has."""
    with used_here(fresh_kafka(kafka_servers)) as used:
        yield used
