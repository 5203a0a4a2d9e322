import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from infrastructure.sockets import allow_many_sockets
from orders.models import Order
from orders.order_entry.service import NewOrder, accept_orders
from orders.placement import tasks
from orders.placement.circuit_breaker import Breaker
from testsupport.simulator_process import SimulatorProcess
from testsupport.waiting import wait_until

# More than the 512 connections that a gateway has by itself.
SLOTS = 600


@pytest.mark.django_db(transaction=True)
def test_a_worker_has_a_connection_for_each_of_its_slots(
    account: User, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a worker that has just started: many files may be open, and no exchange was ever away.
    allow_many_sockets()
    monkeypatch.setattr(tasks, "breaker", Breaker())
    settings.PLACEMENT_CONCURRENCY = SLOTS
    settings.EXCHANGE_TIMEOUT, settings.PLACEMENT_LEASE = 60.0, 150.0
    accept_orders(account.pk, [NewOrder("market", "buy", "AAPL_2025_03", 1)] * SLOTS)

    def place() -> None:
        try:
            asyncio.run(tasks.run_loop())
        finally:
            connections.close_all()

    # It takes all of them and answers none.
    with SimulatorProcess(tmp_path / "exchange", latency=50) as simulator, ThreadPoolExecutor(1) as thread:
        settings.EXCHANGE_URL = simulator.url
        placing = thread.submit(place)
        try:
            wait_until(lambda: len(simulator.book()) == SLOTS, within_s=90)
            assert Order.objects.filter(may_be_at_exchange=True, status="pending").count() == SLOTS
        finally:
            tasks.stopping.value = 1
            simulator.kill()
            placing.result(30)
            tasks.stopping.value = 0
