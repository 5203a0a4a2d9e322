"""What one notification service counts of its own work."""

import urllib.request

from django.contrib.auth.models import User

from notifications.tests.order_changes import accept
from notifications.tests.talking import Client, ServiceProcess
from testsupport.waiting import wait_until


def metrics(service: ServiceProcess) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics", timeout=5) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name.removeprefix("lemon_market_"): float(value) for name, value in lines}


def test_clients_messages_and_ended_connections_are_counted(service: ServiceProcess, client: Client, anna: User) -> None:
    before = metrics(service)
    assert before["clients"] >= 1
    accept(anna)
    wait_until(lambda: metrics(service)["messages_sent_total"] > before["messages_sent_total"], within_s=10, what="it is sent")
    client.send("nonsense")
    name = 'connections_ended_total{code="4400"}'
    wait_until(lambda: metrics(service).get(name, 0) > before.get(name, 0), within_s=10, what="the end is counted")
