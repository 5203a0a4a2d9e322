import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from devstack.free_ports import free_port
from orders.events.notify import notifier
from orders.kafka import lag
from orders.kafka.lag import LagWatch
from orders.order_entry.service import NewOrder, accept_orders
from orders.wakeups.kafka import orders_producer
from testsupport.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fresh_watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that knows nothing of other tests, looks at once, and ends with the test."""
    monkeypatch.setattr(lag, "FIRST_LOOK_S", 30.0)
    watch = LagWatch()
    monkeypatch.setattr(lag, "lag_watch", watch)
    yield
    watch.close()


def accept(count: int) -> None:
    anna = User.objects.create_user("anna")
    accept_orders(anna.pk, [NewOrder("market", "buy", "AAPL_2025_03", 100) for _ in range(count)])
    orders_producer.producer().flush(10)
    notifier.close()


def test_the_lag_of_each_group_is_told(kafka: object, client: Client) -> None:
    accept(3)
    assert client.get("/health/ready").json() == {"status": "ok", "kafka": {"lag": {"orders": 3, "executions": 0}}}
    text = client.get("/metrics").content.decode()
    assert 'lemon_market_consumer_lag_messages{topic="orders"} 3.0' in text
    assert "lemon_market_kafka_up 1.0" in text


def test_the_lag_is_looked_at_again(kafka: object, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "INTERVAL_S", 0.01)
    assert client.get("/health/ready").json()["kafka"] == {"lag": {"orders": 0, "executions": 0}}
    accept(2)
    wait_until(lambda: client.get("/health/ready").json()["kafka"]["lag"]["orders"] == 2, within_s=20, what="seen")


def test_a_kafka_that_is_away_is_named_and_orders_are_still_accepted(client: Client, settings: Any) -> None:
    settings.ORDER_TRANSPORT, settings.KAFKA_BOOTSTRAP_SERVERS = "kafka", f"127.0.0.1:{free_port()}"
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json()["kafka"]["problem"].startswith("Kafka does not answer")
    text = client.get("/metrics").content.decode()
    assert "lemon_market_kafka_up 0.0" in text
    assert "lemon_market_consumer_lag_messages{" not in text


def test_no_probe_waits_for_a_kafka_that_does_not_answer(client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ORDER_TRANSPORT = "kafka"
    unanswered = threading.Event()
    monkeypatch.setattr(lag, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(lag, "consumer_lag", lambda timeout_s: unanswered.wait(30))
    assert client.get("/health/ready").json() == {"status": "ok", "kafka": {"problem": "not checked yet"}}
    unanswered.set()


def test_without_kafka_nothing_is_told_of_it(client: Client) -> None:
    assert client.get("/health/ready").json() == {"status": "ok"}
    answer = client.get("/metrics")
    assert (answer.status_code, "kafka" in answer.content.decode()) == (200, False)
    assert answer["Content-Type"].startswith("text/plain")
