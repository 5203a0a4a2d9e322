"""Every order event in the topic `order_updates`."""

import json
from collections import defaultdict
from collections.abc import Callable

import pytest
from django.db import transaction
from django.utils import timezone

from orders import lifecycle
from orders.event_data import Cause
from orders.events import kafka_relay as relay_module
from orders.events.kafka_relay import OutboxRelay
from orders.kafka.clients import BrokerUnavailable
from orders.kafka.topics import ORDER_UPDATES
from orders.models import Order, OrderEvent, RelayPosition
from orders.storage import lock_orders, save_changes
from orders.tests.on_kafka import all_messages, published, roles
from testsupport.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kafka")]
Accept = Callable[..., Order]


def cancel(order: Order) -> None:
    """Two more events of the order, in a transaction of their own."""
    with transaction.atomic():
        locked = lock_orders([order.id])[order.id]
        save_changes([locked], lifecycle.cancel_requested(locked, timezone.now(), Cause(by="anna")))


def stored() -> list[str]:
    return list(OrderEvent.objects.order_by("id").values_list("event_id", flat=True))


def test_every_event_is_published_in_the_order_of_its_order(accept: Accept) -> None:
    orders = [accept() for _ in range(4)]
    relay = OutboxRelay()
    assert relay.publish_new()
    for order in orders:
        cancel(order)
    assert relay.publish_new()
    assert published() == stored()
    of_order = defaultdict(list)
    for message in all_messages(ORDER_UPDATES):
        of_order[message.key].append(json.loads(message.value)["type"])
        assert message.headers["account"] == str(orders[0].account_id)
        assert int(message.headers["tx"]) > 0
    assert of_order == {str(order.id): ["accepted", "cancel_requested", "canceled"] for order in orders}


def test_a_backlog_of_many_pages_is_published_whole(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "PAGE_SIZE", 3)
    for _ in range(10):
        accept()
    assert OutboxRelay().publish_new()
    assert published() == stored()


def test_what_the_broker_did_not_acknowledge_is_published_again(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "PAGE_SIZE", 3)
    for _ in range(5):
        accept()
    relay = OutboxRelay()
    publish, calls = relay.publish, []

    def fail_at_the_second_page(ids: list[int]) -> None:
        calls.append(ids)
        if len(calls) == 2:
            raise BrokerUnavailable("not now")
        publish(ids)

    monkeypatch.setattr(relay, "publish", fail_at_the_second_page)
    with pytest.raises(BrokerUnavailable):
        relay.publish_new()
    assert not RelayPosition.objects.exists()
    assert relay.publish_new()
    # The first page comes twice, and before each event stands everything that was before it.
    assert published() == [*stored()[:3], *stored()]


def test_a_relay_that_is_started_again_goes_on_where_it_was(accept: Accept) -> None:
    accept()
    assert OutboxRelay().publish_new()
    accept()
    assert OutboxRelay().publish_new()
    assert published() == stored()


def test_one_relay_is_active_and_another_takes_over_when_it_is_killed(accept: Accept) -> None:
    with roles() as running:
        [first] = running.start("run_outbox_relay")
        accept()
        wait_until(lambda: published() == stored())
        [second] = running.start("run_outbox_relay")
        for _ in range(5):
            accept()
        wait_until(lambda: published() == stored())
        first.kill()
        for _ in range(5):
            accept()
        wait_until(lambda: set(published()) == set(stored()))
        second.terminate()
        assert second.wait(15) == 0
