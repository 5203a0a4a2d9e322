"""What the desk does to orders: retry and cancel, one or many, each in the person's name."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from orders import lifecycle
from orders.admin import bulk_actions
from orders.models import Order
from orders.placement.manual_retry import retry_orders
from orders.retry_policy import PlacementPolicy
from orders.states import Status
from orders.storage import save_changes
from orders.tests.desk import LIST, lose, many_failed, page, refuse, snapshot

Accept = Callable[..., Order]
LOOKED_UP = "looked up, and canceled at the exchange if it is there"
ACTIONS = ["retry", "cancel"]


@pytest.fixture
def clerk(staff: Callable[..., Client]) -> Client:
    return staff("view_order", "retry_order", "cancel_order")


def act(client: Client, order: Order, action: str) -> str:
    """Press the button of the order's page; returns the page that follows."""
    answer = client.post(f"{LIST}{order.id}/{action}/", follow=True)
    assert answer.redirect_chain == [(page(order), 302)]
    return str(answer.content.decode())


def select(client: Client, orders: list[Order], action: str, **more: str) -> str:
    """Choose the action for these orders on the list; returns the page that follows."""
    form = {"action": f"{action}_selected", "_selected_action": [str(order.id) for order in orders], **more}
    return str(client.post(LIST, form, follow=True).content.decode())


def buttons(client: Client, order: Order) -> list[str]:
    html = client.get(page(order)).content.decode()
    return re.findall(r"<button [^>]*>((?:Retry|Cancel): .*?)</button>", html)


def place(order: Order) -> Order:
    save_changes([order], lifecycle.acknowledged(order, "X1", timezone.now()))
    return order


def test_an_orders_page_offers_what_can_be_done_and_says_what_will_happen(
    clerk: Client, accept: Accept, policy: PlacementPolicy
) -> None:
    assert buttons(clerk, accept()) == ["Cancel: it will be canceled at once"]
    assert buttons(clerk, refuse(accept())) == ["Retry: it will be sent again", "Cancel: it will be canceled at once"]
    lost = buttons(clerk, lose(accept(), policy))
    assert lost == ["Retry: it will be looked up at the exchange first", f"Cancel: it will be {LOOKED_UP}"]
    placed = place(accept())
    assert buttons(clerk, placed) == ["Cancel: it will be canceled at the exchange"]
    Order.objects.filter(id=placed.id).update(execution_status="canceled")
    assert buttons(clerk, placed) == []


@pytest.mark.parametrize("permission", ACTIONS)
def test_only_what_the_person_may_do_is_offered(staff: Any, accept: Accept, permission: str) -> None:
    client = staff("view_order", f"{permission}_order")
    assert [button.split(":")[0].lower() for button in buttons(client, refuse(accept()))] == [permission]
    html = client.get(LIST).content.decode()
    assert [action for action in ACTIONS if f'value="{action}_selected"' in html] == [permission]


def test_one_order_is_retried_in_the_persons_name(clerk: Client, accept: Accept) -> None:
    order = refuse(accept())
    OrmQ.objects.all().delete()
    assert "This order: 1 will be sent again, 0 will be looked up at the exchange first." in act(clerk, order, "retry")
    order.refresh_from_db()
    assert (order.status, OrmQ.objects.count()) == (Status.PENDING, 1)
    event = order.events.latest("id")
    assert (event.type, event.data) == ("retry_requested", {"by": "dora", "will_be": "sent"})


def test_an_order_that_may_be_at_the_exchange_is_looked_up_first(clerk: Client, accept: Accept, policy: PlacementPolicy) -> None:
    order = lose(accept(), policy)
    act(clerk, order, "retry")
    order.refresh_from_db()
    assert (order.status, order.may_be_at_exchange) == (Status.PENDING, True)
    assert order.events.latest("id").data == {"by": "dora", "will_be": "looked up"}


def test_one_order_is_canceled_in_the_persons_name(clerk: Client, accept: Accept) -> None:
    order = accept()
    act(clerk, order, "cancel")
    order.refresh_from_db()
    assert (order.status, order.next_attempt_at) == (Status.CANCELED, None)
    assert order.events.get(type="cancel_requested").data["by"] == "dora"


def test_a_cancel_of_an_order_at_the_exchange_is_stored_for_the_workers(clerk: Client, accept: Accept) -> None:
    order = place(accept())
    OrmQ.objects.all().delete()
    act(clerk, order, "cancel")
    order.refresh_from_db()
    assert order.cancel_requested_at is not None
    assert (order.status, OrmQ.objects.count()) == (Status.COMPLETED, 1)


@pytest.mark.parametrize("make", ["pending", "expired"])
def test_an_order_that_cannot_be_retried_is_passed_over_with_the_reason(clerk: Client, accept: Accept, make: str) -> None:
    order = accept(expires_at=timezone.now() + timedelta(minutes=1))
    if make == "expired":
        refuse(order)
        past = timezone.now() - timedelta(minutes=1)
        Order.objects.update(expires_at=past, give_up_at=past)
    before = snapshot()
    assert f"1 passed over ({'has expired' if make == 'expired' else 'is pending'})" in act(clerk, order, "retry")
    assert snapshot() == before


def test_an_order_that_is_canceled_already_is_passed_over(clerk: Client, accept: Accept) -> None:
    order = accept()
    act(clerk, order, "cancel")
    before = snapshot()
    assert "1 passed over (is canceled)" in act(clerk, order, "cancel")
    assert snapshot() == before


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_wants_the_permission_a_post_and_a_csrf_token(
    viewer: Client, clerk: Client, accept: Accept, action: str
) -> None:
    order = refuse(accept())
    before, path = snapshot(), f"{LIST}{order.id}/{action}/"
    assert buttons(viewer, order) == []
    assert viewer.post(path).status_code == 403
    select(viewer, [order], action, confirmed="yes")
    assert Client().post(path).headers["Location"].startswith("/admin/login/")
    assert clerk.get(path).status_code == 405
    clerk.handler.enforce_csrf_checks = True
    assert clerk.post(path).status_code == 403
    assert snapshot() == before


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_on_an_order_that_does_not_exist_changes_nothing(clerk: Client, accept: Accept, action: str) -> None:
    accept()
    before = snapshot()
    answer = clerk.post(f"{LIST}01234567-89ab-cdef-0123-456789abcdef/{action}/", follow=True)
    assert "Perhaps it was deleted?" in answer.content.decode()
    assert snapshot() == before


def test_many_orders_are_retried_after_a_confirmation_that_says_what_will_happen(
    clerk: Client, accept: Accept, policy: PlacementPolicy
) -> None:
    orders = [refuse(accept()), lose(accept(), policy), accept()]
    OrmQ.objects.all().delete()
    before = snapshot()
    question = select(clerk, orders, "retry")
    assert re.findall(r"<td>(sent again|looked up at the exchange first|nothing: .*?)</td>", question) == [
        "sent again",
        "looked up at the exchange first",
        "nothing: it is pending",
    ]
    assert snapshot() == before
    answer = select(clerk, orders, "retry", confirmed="yes")
    assert "Of 3 order(s): 1 will be sent again, 1 will be looked up at the exchange first, 1 passed over (is pending)." in answer
    assert set(Order.objects.values_list("status", flat=True)) == {Status.PENDING}
    assert [order.events.latest("id").data.get("by") for order in orders] == ["dora", "dora", None]
    assert OrmQ.objects.count() == 1


def test_many_orders_are_canceled_after_a_confirmation_that_says_what_will_happen(
    clerk: Client, accept: Accept, policy: PlacementPolicy
) -> None:
    orders = [accept(), lose(accept(), policy), place(accept())]
    before = snapshot()
    question = select(clerk, orders, "cancel")
    assert re.findall(r"<td>(canceled at once|looked up, and .*?|canceled at the exchange)</td>", question) == [
        "canceled at once",
        LOOKED_UP,
        "canceled at the exchange",
    ]
    assert snapshot() == before
    assert "Of 3 order(s): " in select(clerk, orders, "cancel", confirmed="yes")
    assert [order.events.get(type="cancel_requested").data["by"] for order in orders] == ["dora"] * 3
    assert list(Order.objects.order_by("id").values_list("status", flat=True)) == ["canceled", "error", "completed"]


def test_what_left_the_list_between_the_question_and_the_answer_is_told_of(clerk: Client, accept: Accept) -> None:
    """The list was filtered when the orders were chosen, and one of them has become another since."""
    orders = [refuse(accept()), refuse(accept())]
    ids = [str(order.id) for order in orders]
    retry_orders([orders[0].id], "somebody else")
    form = {"action": "retry_selected", "confirmed": "yes", "_selected_action": ids}
    answer = clerk.post(f"{LIST}?status__exact=failed", form, follow=True).content.decode()
    assert "1 will be sent again, 0 will be looked up at the exchange first, 1 passed over (is pending)." in answer


@pytest.mark.parametrize("chosen", ["x", "", "0" * 31])
def test_what_is_no_order_cannot_be_chosen(clerk: Client, chosen: str) -> None:
    form = {"action": "retry_selected", "confirmed": "yes", "_selected_action": [chosen]}
    assert clerk.post(LIST, form).status_code == 400


@pytest.mark.parametrize("action", ACTIONS)
def test_a_confirmation_of_nothing_that_can_be_done_has_no_button(clerk: Client, accept: Accept, action: str) -> None:
    order = accept()
    if action == "cancel":
        act(clerk, order, "cancel")
    question = select(clerk, [order], action)
    assert f"<td>nothing: it is {'pending' if action == 'retry' else 'canceled'}</td>" in question
    assert f"{action.capitalize()} 0 orders" not in question
    assert "desk-button-main" not in question


def test_as_many_orders_as_may_be_selected_can_also_be_confirmed(clerk: Client, account: Any) -> None:
    orders = many_failed(account, bulk_actions.MAX_BULK)
    question = select(clerk, orders[:1], "retry", select_across="1")
    ids = re.findall(r'name="_selected_action" value="([0-9a-f-]+)"', question)
    assert len(ids) == bulk_actions.MAX_BULK
    form = {"action": "retry_selected", "confirmed": "yes", "csrfmiddlewaretoken": "x", "_selected_action": ids}
    assert f"{bulk_actions.MAX_BULK} will be sent again" in clerk.post(LIST, form, follow=True).content.decode()
    assert not Order.objects.exclude(status=Status.PENDING).exists()


@pytest.mark.parametrize("action", ACTIONS)
def test_more_than_that_are_refused(clerk: Client, accept: Accept, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    monkeypatch.setattr(bulk_actions, "MAX_BULK", 2)
    orders = [refuse(accept()) for _ in range(3)]
    before = snapshot()
    assert "At most 2 orders at a time." in select(clerk, orders, action, confirmed="yes")
    assert snapshot() == before
