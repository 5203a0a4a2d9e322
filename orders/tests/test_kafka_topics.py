from io import StringIO
from typing import Any

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType
from django.core.management import CommandError, call_command

from devstack.free_ports import free_port
from orders.checks import placement_settings
from orders.kafka.topics import EXECUTIONS, ORDER_UPDATES, ORDERS, TOPICS, new_admin, wait_for_topics


def create(*options: str) -> str:
    output = StringIO()
    call_command("create_topics", *options, stdout=output)
    return output.getvalue()


@pytest.fixture
def empty_kafka(kafka: Any, settings: Any) -> None:
    """A Kafka with none of our topics."""
    settings.KAFKA_PREFIX = f"{settings.KAFKA_PREFIX}empty-"


def test_topics_are_created_as_told_and_events_have_one_partition(empty_kafka: None) -> None:
    create("--partitions", "5", "--replication", "1", "--retention-hours", "2")
    wait_for_topics(*TOPICS)
    admin = new_admin()
    known = admin.list_topics(timeout=10).topics
    assert {topic.name: len(known[topic.full_name].partitions) for topic in TOPICS} == {
        "orders": 5,
        "executions": 5,
        "executions.dead": 5,
        "order_updates": 1,
    }
    resource = ConfigResource(ResourceType.TOPIC, EXECUTIONS.full_name)
    config = admin.describe_configs([resource])[resource].result()
    assert (config["retention.ms"].value, config["min.insync.replicas"].value) == (str(2 * 3600 * 1000), "1")


def test_creating_them_again_changes_nothing(empty_kafka: None) -> None:
    assert ORDERS.full_name in create()
    assert create("--partitions", "50") == "All topics exist.\n"
    wait_for_topics(*TOPICS)
    assert len(new_admin().list_topics(timeout=10).topics[ORDERS.full_name].partitions) == 12
    assert ORDER_UPDATES.full_name in new_admin().list_topics(timeout=10).topics


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--partitions", "0"], "--partitions"),
        (["--replication", "-1"], "--replication"),
        (["--retention-hours", "0"], "--retention-hours"),
        (["--retention-hours", "nan"], "--retention-hours"),
    ],
)
def test_impossible_options_are_named(options: list[str], named: str) -> None:
    with pytest.raises(CommandError, match=named):
        create(*options)


def test_more_copies_than_there_are_brokers_are_refused(empty_kafka: None) -> None:
    with pytest.raises(CommandError, match=r"(?i)replication"):
        create("--replication", "3")


def test_a_broker_that_is_away_is_one_line(settings: Any) -> None:
    settings.KAFKA_BOOTSTRAP_SERVERS = f"127.0.0.1:{free_port()}"
    with pytest.raises(CommandError, match="No Kafka broker answers"):
        create()


def test_a_transport_that_does_not_exist_is_refused(settings: Any) -> None:
    settings.ORDER_TRANSPORT = "pigeons"
    [error] = placement_settings()
    assert error.msg == "ORDER_TRANSPORT must be django_q or kafka."
