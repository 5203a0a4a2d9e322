"""What docs/kafka.yaml says of the messages, held against messages of the real processes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from jsonschema import Draft202012Validator

from exchange.reports import ExecutionReport, parse_frame
from orders.events.kafka_relay import OutboxRelay
from orders.kafka.clients import VERSION, AcknowledgedProducer
from orders.kafka.topics import DEAD_EXECUTIONS, EXECUTIONS, ORDER_UPDATES, ORDERS, TOPICS
from orders.models import Order
from orders.tests.on_kafka import all_messages, append_all, record_all
from orders.wakeups.kafka import orders_producer
from testsupport.placement import run_loop
from testsupport.simulator_process import SimulatorProcess

pytestmark = pytest.mark.django_db(transaction=True)
DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = yaml.safe_load((DOCS / "kafka.yaml").read_text())
EVENTS = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())


def validate(document: dict[str, Any], name: str, value: object) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def test_messages_are_as_the_document_says(kafka: object, accept: Callable[..., Order], simulator: SimulatorProcess) -> None:
    accept()
    run_loop(simulator.url)
    append_all(simulator)
    producer = AcknowledgedProducer()
    producer.send(EXECUTIONS.full_name, b"poison", key=None, headers={"version": VERSION, "session": "s1"})
    producer.flush()
    record_all()
    OutboxRelay().publish_new()
    orders_producer.producer().flush(10)
    [wake_up], reports = all_messages(ORDERS), all_messages(EXECUTIONS)
    [dead], updates = all_messages(DEAD_EXECUTIONS), all_messages(ORDER_UPDATES)
    validate(DOCUMENT, "WakeUp", json.loads(wake_up.value))
    for report in reports:
        validate(DOCUMENT, "ReportHeaders", report.headers)
    assert sum(isinstance(parse_frame(report.value), ExecutionReport) for report in reports) == len(reports) - 1
    validate(DOCUMENT, "DeadReportHeaders", dead.headers)
    assert len(updates) >= 3
    for update in updates:
        validate(DOCUMENT, "OrderUpdateHeaders", update.headers)
        validate(EVENTS, "Event", json.loads(update.value))


def test_every_topic_and_every_command_is_there() -> None:
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == {topic.name for topic in TOPICS}
    text = (DOCS / "kafka.md").read_text()
    for topic in TOPICS:
        assert f"| `{topic.name}` |" in text
    named = {word.split("`")[0].split()[0] for word in text.split("manage.py ")[1:]}
    assert named
    assert named <= set(get_commands())
