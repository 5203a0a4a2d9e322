import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from orders import admin
from orders.models import Order
from orders.policy import PlacementPolicy
from orders.states import Status
from orders.tests.desk import LIST, lose, many_failed, page, refuse, snapshot

Accept = Callable[..., Order]


def test_one_order_is_retried_in_the_persons_name(retrier: Client, accept: Accept) -> None:
    order = refuse(accept())
    OrmQ.objects.all().delete()
    assert "Retry: it will be sent again" in retrier.get(page(order)).content.decode()
    answer = retrier.post(f"{LIST}{order.id}/retry/", follow=True)
    assert "This order: 1 will be sent again, 0 will be looked up at the exchange first." in answer.content.decode()
    order.refresh_from_db()
    assert (order.status, OrmQ.objects.count()) == (Status.PENDING, 1)
    event = order.events.latest("id")
    assert (event.type, event.data) == ("retry_requested", {"by": "dora", "will_be": "sent"})


def test_an_order_that_may_be_at_the_exchange_is_announced_to_be_looked_up(
    retrier: Client, accept: Accept, policy: PlacementPolicy
) -> None:
    order = lose(accept(), policy)
    assert "Retry: it will be looked up at the exchange first" in retrier.get(page(order)).content.decode()
    retrier.post(f"{LIST}{order.id}/retry/")
    order.refresh_from_db()
    assert (order.status, order.may_be_at_exchange) == (Status.PENDING, True)
    assert order.events.latest("id").data == {"by": "dora", "will_be": "looked up"}


@pytest.mark.parametrize("make", ["pending", "expired"])
def test_an_order_that_cannot_be_retried_offers_no_button_and_a_post_changes_nothing(
    retrier: Client, accept: Accept, make: str
) -> None:
    order = accept(expires_at=timezone.now() + timedelta(minutes=1))
    if make == "expired":
        refuse(order)
        past = timezone.now() - timedelta(minutes=1)
        Order.objects.update(expires_at=past, give_up_at=past)
    before = snapshot()
    assert "Retry: it will be" not in retrier.get(page(order)).content.decode()
    text = retrier.post(f"{LIST}{order.id}/retry/", follow=True).content.decode()
    assert f"1 passed over ({'has expired' if make == 'expired' else 'is pending'})" in text
    assert snapshot() == before


def test_a_retry_wants_the_permission_a_post_and_a_csrf_token(viewer: Client, retrier: Client, accept: Accept) -> None:
    order = refuse(accept())
    before, path = snapshot(), f"{LIST}{order.id}/retry/"
    assert "Retry" not in viewer.get(page(order)).content.decode()
    assert viewer.post(path).status_code == 403
    assert (
        viewer.post(LIST, {"action": "retry_selected", "_selected_action": str(order.id), "confirmed": "yes"}).status_code < 500
    )
    assert Client().post(path).status_code == 302
    assert retrier.get(path).status_code == 405
    retrier.handler.enforce_csrf_checks = True
    assert retrier.post(path).status_code == 403
    assert snapshot() == before


def select(client: Client, orders: list[Order], **more: str) -> Any:
    return client.post(
        LIST, {"action": "retry_selected", "_selected_action": [str(order.id) for order in orders], **more}, follow=True
    )


def test_many_orders_are_retried_after_a_confirmation_that_says_what_will_happen(
    retrier: Client, accept: Accept, policy: PlacementPolicy
) -> None:
    orders = [refuse(accept()), lose(accept(), policy), accept()]
    OrmQ.objects.all().delete()
    before = snapshot()
    question = select(retrier, orders).content.decode()
    assert re.findall(r"<td>(sent again|looked up at the exchange first|nothing: it is pending)</td>", question) == [
        "sent again",
        "looked up at the exchange first",
        "nothing: it is pending",
    ]
    assert snapshot() == before
    answer = select(retrier, orders, confirmed="yes").content.decode()
    assert "Of 3 order(s): 1 will be sent again, 1 will be looked up at the exchange first, 1 passed over (is pending)." in answer
    assert set(Order.objects.values_list("status", flat=True)) == {Status.PENDING}
    assert [order.events.latest("id").data.get("by") for order in orders] == ["dora", "dora", None]
    assert OrmQ.objects.count() == 1


def test_a_confirmation_of_nothing_that_can_be_retried_has_no_button(retrier: Client, accept: Accept) -> None:
    question = select(retrier, [accept()]).content.decode()
    assert "nothing: it is pending" in question
    assert 'value="Retry"' not in question


def test_as_many_orders_as_may_be_selected_can_also_be_confirmed(retrier: Client, account: Any) -> None:
    orders = many_failed(account, admin.MAX_BULK)
    question = retrier.post(LIST, {"action": "retry_selected", "select_across": "1", "_selected_action": [str(orders[0].id)]})
    ids = re.findall(r'name="_selected_action" value="([0-9a-f-]+)"', question.content.decode())
    assert len(ids) == admin.MAX_BULK
    form = {"action": "retry_selected", "confirmed": "yes", "csrfmiddlewaretoken": "x", "_selected_action": ids}
    assert f"{admin.MAX_BULK} will be sent again" in retrier.post(LIST, form, follow=True).content.decode()
    assert not Order.objects.exclude(status=Status.PENDING).exists()


def test_more_than_that_are_refused(retrier: Client, accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "MAX_BULK", 2)
    orders = [refuse(accept()) for _ in range(3)]
    before = snapshot()
    assert "At most 2 orders at a time." in select(retrier, orders, confirmed="yes").content.decode()
    assert snapshot() == before
