from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from django_q.models import OrmQ

from orders.models import Order
from orders.wakeups.django_q import WORKERS, delete_visible_tasks, queue_task

pytestmark = pytest.mark.django_db(transaction=True)


def test_accepting_an_order_queues_one_wake_up_with_it(accept: Callable[..., Order]) -> None:
    accept()
    assert [queued.func() for queued in OrmQ.objects.all()] == ["orders.placement.tasks.place_orders"]


def test_an_order_that_is_rolled_back_leaves_no_wake_up(accept: Callable[..., Order]) -> None:
    with transaction.atomic():
        accept()
        assert OrmQ.objects.count() == 1
        transaction.set_rollback(True)
    assert (Order.objects.count(), OrmQ.objects.count()) == (0, 0)


def test_as_many_wake_ups_wait_as_there_are_workers(accept: Callable[..., Order]) -> None:
    OrmQ.objects.create(key="lemon_market", payload="at work", lock=timezone.now() + timedelta(minutes=5))
    for _ in range(WORKERS + 2):
        accept()
        queue_task()
    assert OrmQ.objects.count() == 1 + WORKERS


def test_with_kafka_nothing_is_queued_and_each_order_is_published(
    accept: Callable[..., Order], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[Any] = []
    settings.ORDER_TRANSPORT = "kafka"
    monkeypatch.setattr("orders.wakeups.kafka.orders_producer", SimpleNamespace(publish=published.append))
    order = accept()
    assert (published, OrmQ.objects.count()) == ([[order.id]], 0)


def test_a_loop_deletes_the_wake_ups_that_wait_and_no_other() -> None:
    queue_task()
    queue_task()
    taken = OrmQ.objects.create(key="lemon_market", payload="at work", lock=timezone.now() + timedelta(minutes=5))
    other = OrmQ.objects.create(key="somebody else's", payload="", lock=timezone.now())
    assert OrmQ.objects.count() == 4
    delete_visible_tasks()
    assert set(OrmQ.objects.all()) == {taken, other}
