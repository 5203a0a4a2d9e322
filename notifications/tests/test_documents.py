"""What docs/ promises to clients, held against the real service."""

import json
import re
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
import yaml
from django.utils import timezone
from jsonschema import Draft202012Validator, ValidationError

from exchange.reports import ExecutionReport, ReportType
from notifications import closings
from notifications.closings import CloseReason
from notifications.tests.order_changes import accept, change, place
from notifications.tests.talking import CHECKOUT
from orders import lifecycle
from orders.executions.reports import apply_reports
from orders.models import Order
from orders.states import ErrorCode, EventType, ExecutionStatus, Status
from testsupport.waiting import wait_until

TEXT = (CHECKOUT / "docs" / "notifications.md").read_text()
DOCUMENT = yaml.safe_load((CHECKOUT / "docs" / "asyncapi.yaml").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]


def validator(name: str) -> Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        return {part["$ref"]} if "$ref" in part else references(list(part.values()))
    return {reference for inner in part for reference in references(inner)} if isinstance(part, list) else set()


def test_the_schemas_are_schemas_and_every_reference_leads_somewhere():
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
    assert references(DOCUMENT)
    for reference in references(DOCUMENT):
        part = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def test_the_schema_knows_every_value():
    event, order = SCHEMAS["Event"]["properties"], SCHEMAS["Order"]["properties"]
    assert event["type"]["enum"] == EventType.values
    assert order["status"]["enum"] == Status.values
    assert order["execution_status"]["enum"] == [*ExecutionStatus.values, None]
    assert order["error_code"]["enum"] == [*ErrorCode.values, None]
    # Otherwise a client could not tell them apart.
    assert not {"hello", "heartbeat", "ping", "pong"} & set(EventType.values)


def test_messages_are_as_the_schema_says(service, clients, anna, token):
    client = clients.subscribe(service.url, token)
    filled, refused = accept(anna, 2)
    place(filled)
    change(refused, lifecycle.refused, "no", timezone.now())
    apply_reports([fill(filled, 1, 30, "150.255", 30), fill(filled, 2, 70, "151", 100)], "session")
    validator("Hello").validate(client.hello)
    validator("Heartbeat").validate(next(message for message in iter(client.next, None) if message["type"] == "heartbeat"))
    client.send('{"type":"ping"}')
    validator("Pong").validate(next(message for message in iter(client.next, None) if message["type"] == "pong"))
    events = clients.subscribe(service.url, token, after="beginning").events(6)
    assert {event["type"] for event in events} == {"accepted", "placed", "failed", "partially_filled", "filled"}
    for event in events:
        validator("Event").validate(event)
    assert events[-1]["order"]["average_price"] == "150.77650000"


def test_a_message_that_is_not_as_the_schema_says_is_noticed():
    with pytest.raises(ValidationError):
        validator("Heartbeat").validate({"type": "heartbeat", "at": "2030-01-31T15:30:15+00:00"})


def test_the_examples_are_as_the_schema_says():
    hello, event = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]
    validator("Hello").validate(hello)
    validator("Event").validate(event)
    [heartbeat] = re.findall(r'`(\{"type": "heartbeat".*?)`', TEXT)
    validator("Heartbeat").validate(json.loads(heartbeat))


def test_every_close_code_is_explained():
    codes = {value.code for value in vars(closings).values() if isinstance(value, CloseReason)}
    codes |= {closings.bad_query("").code, closings.wrong_credentials("").code}
    assert {int(code) for code in re.findall(r"^\| (\d{4}) ", TEXT, re.MULTILINE)} == codes


def test_the_example_client_runs(service, clients, anna, token, tmp_path):
    [example] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    environment = service.environment | {"URL": service.url, "LEMON_MARKET_TOKEN": token, "PYTHONPATH": ""}
    output = tmp_path / "output"
    with (
        output.open("wb") as out,
        subprocess.Popen([sys.executable, "-c", example], cwd=tmp_path, env=environment, stdout=out) as process,
    ):
        try:
            wait_until(lambda: "hello" in output.read_text(), within_s=10, what="connected")
            [order] = accept(anna)
            wait_until(lambda: f"accepted {order.id}" in output.read_text(), within_s=10, what="the event")
            anna.auth_token_set.all().delete()
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert "closed: 4401" in output.read_text()


def fill(order: Order, sequence: int, quantity: int, price: str, total: int) -> ExecutionReport:
    return ExecutionReport(
        sequence=sequence,
        execution_id=f"e{sequence}",
        client_order_id=str(order.id),
        exchange_order_id="X-1",
        account=str(order.account_id),
        type=ReportType.FILLED if total == order.quantity else ReportType.PARTIALLY_FILLED,
        last_quantity=quantity,
        last_price=Decimal(price),
        filled_quantity=total,
        average_price=Decimal(price),
        reason=None,
        occurred_at=timezone.now(),
    )
