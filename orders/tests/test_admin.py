import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success, Task

from exchange.gateway import Acknowledged
from orders import capped_count, lifecycle
from orders.admin import read_only
from orders.admin.overview import NEEDS_OPERATOR_SHOWN
from orders.capped_count import MAX_COUNTED
from orders.event_data import Cause
from orders.models import DeadLetter, Order
from orders.retry_policy import PlacementPolicy
from orders.storage import save_changes
from orders.tests.desk import LIST, lose, many_failed, page, refuse, snapshot

Accept = Callable[..., Order]


def rows(answer: Any) -> list[str]:
    """The orders that a list page shows, from top to bottom."""
    assert answer.status_code == 200
    table = answer.content.decode().partition('id="result_list"')[2]
    return re.findall(rf'<th[^>]*><a href="{LIST}([0-9a-f-]+)/change/', table)


def in_one_line(answer: Any) -> str:
    """The page without the white space that templates leave."""
    return re.sub(r"\s+", " ", answer.content.decode())


def test_the_list_shows_each_order_with_what_the_desk_wants_to_know(viewer: Client, accept: Accept) -> None:
    plain, refused = accept(), refuse(accept(type="limit", limit_price="250.50", instrument="TSLA_2025_06", side="sell"))
    answer = viewer.get(LIST)
    assert rows(answer) == [str(refused.id), str(plain.id)]
    html = answer.content.decode()
    for text in ("sell", "250.50", "TSLA_2025_06", "anna", "failed", "The exchange refused the order: unknown instrument"):
        assert text in html.partition('id="result_list"')[2]


@pytest.mark.parametrize(
    "by", ["id", "id in capitals", "id without dashes", "client_order_id", "exchange_order_id", "instrument", "account", "spaces"]
)
def test_the_list_is_searched_by_whole_ids_and_names(viewer: Client, accept: Accept, django_user_model: Any, by: str) -> None:
    wanted, other = accept(client_order_id="my own id", instrument="TSLA_2025_06"), accept(client_order_id="my")
    save_changes([wanted], lifecycle.acknowledged(wanted, "X-17", timezone.now()))
    Order.objects.filter(id=other.id).update(account=django_user_model.objects.create_user("bert"))
    terms = {"id": str(wanted.id), "id in capitals": str(wanted.id).upper(), "id without dashes": wanted.id.hex}
    terms |= {
        "client_order_id": "my own id",
        "exchange_order_id": "X-17",
        "instrument": "tsla_2025_06",
        "account": "anna",
        "spaces": "  X-17 ",
    }
    assert rows(viewer.get(LIST, {"q": terms[by]})) == [str(wanted.id)]


@pytest.mark.parametrize(
    "term", ["TSLA", "nothing", "my%", "'; DROP TABLE orders_order", "01234567-89ab-cdef-0123-456789abcdef", "é😀", "x" * 5000]
)
def test_a_search_for_what_is_not_there_finds_nothing(viewer: Client, accept: Accept, term: str) -> None:
    accept(client_order_id="my own id")
    assert rows(viewer.get(LIST, {"q": term})) == []


@pytest.mark.parametrize("term", ["", "   ", "a\0b"])
def test_a_search_for_nothing_shows_everything(viewer: Client, accept: Accept, term: str) -> None:
    order = accept()
    assert rows(viewer.get(LIST, {"q": term})) == [str(order.id)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("attention=operator", ["lost", "refused"]),
        ("status__exact=pending", ["plain"]),
        ("status__exact=error", ["lost"]),
        ("error_code__exact=refused_by_exchange", ["refused"]),
        ("execution_status__exact=new", ["placed"]),
        ("type__exact=limit", ["refused"]),
        ("side__exact=sell", ["placed"]),
        ("attention=operator&status__exact=pending", []),
        ("attention=due", ["lost", "plain"]),
        ("status__exact=pending&status__exact=error", ["lost", "plain"]),
        ("status__exact=error&error_code__exact=outcome_unknown", ["lost"]),
        ("created_at_from_0=2000-01-01&created_at_from_1=00:00:00", ["placed", "lost", "refused", "plain"]),
        ("created_at_to_0=2000-01-01&created_at_to_1=00:00:00", []),
        ("created_at_from_0=2000-01-01&created_at_from_1=", ["placed", "lost", "refused", "plain"]),
    ],
)
def test_the_list_is_filtered(viewer: Client, accept: Accept, policy: PlacementPolicy, query: str, expected: list[str]) -> None:
    accept(client_order_id="plain")
    refuse(accept(client_order_id="refused", type="limit", limit_price="1"))
    lose(accept(client_order_id="lost"), policy)
    placed = accept(client_order_id="placed", side="sell")
    save_changes([placed], lifecycle.acknowledged(placed, Acknowledged("X1").exchange_order_id, timezone.now()))
    names = {str(order.id): order.client_order_id for order in Order.objects.all()}
    assert [names[shown] for shown in rows(viewer.get(f"{LIST}?{query}"))] == expected


@pytest.mark.parametrize(
    "query",
    [
        "created_at__gte=soon",
        "created_at_from_0=soon&created_at_from_1=later",
        "id__exact=x",
        "p=x",
        "p=99999",
        "o=99.x",
        "quantity__exact=x",
        "all=1",
        "e=1",
    ],
)
def test_a_garbled_address_of_the_list_breaks_nothing(viewer: Client, accept: Accept, query: str) -> None:
    accept()
    answer = viewer.get(f"{LIST}?{query}", follow=True)
    assert answer.status_code == 200
    assert b'id="changelist"' in answer.content or b"Database error" in answer.content


def test_the_list_is_counted_only_so_far(viewer: Client, accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        accept()
    assert "3 orders" in in_one_line(viewer.get(LIST))
    monkeypatch.setattr(read_only, "MAX_COUNTED", 2)
    monkeypatch.setattr(capped_count, "MAX_COUNTED", 2)
    html = in_one_line(viewer.get(LIST))
    assert "2 orders" in html
    assert "and more: use a filter to see older rows" in html


def panel(client: Client) -> str:
    """What the landing page shows."""
    return in_one_line(client.get("/admin/")).partition('id="overview"')[2]


def test_the_panel_says_when_nothing_needs_a_person(viewer: Client, accept: Accept) -> None:
    assert "Nothing needs an operator." in panel(viewer)
    assert "<b>None</b> pending" in panel(viewer)
    order = accept()
    Order.objects.filter(id=order.id).update(created_at=timezone.now() - timedelta(hours=3, minutes=5))
    assert "<b>3 h 5 min</b> age of the oldest pending order" in panel(viewer)


def test_the_panel_shows_what_needs_a_person(viewer: Client, accept: Accept, policy: PlacementPolicy) -> None:
    refused = refuse(accept())
    lost = lose(accept(), policy)
    shown = panel(viewer)
    for number in ("<b>1</b> failed", "<b>1</b> in error", "<b>1</b> of unknown outcome"):
        assert number in shown
    assert f"{page(refused)}" in shown
    assert f"{page(lost)}" in shown
    assert "unknown instrument" in shown


def test_the_panel_stays_short(viewer: Client, account: Any) -> None:
    many_failed(account, MAX_COUNTED + 1)
    shown = panel(viewer)
    assert "<b>10,000+</b> failed" in shown
    assert shown.partition('id="needs-operator"')[2].count("/change/") == NEEDS_OPERATOR_SHOWN


def test_what_an_order_carries_is_escaped(viewer: Client, accept: Accept) -> None:
    order = accept(client_order_id="<script>alert(1)</script>")
    save_changes([order], lifecycle.refused(order, "<img src=x onerror=alert(1)>", timezone.now()))
    for path in (LIST, page(order)):
        html = viewer.get(path).content.decode()
        assert "<script>alert(1)" not in html
        assert "<img src=x" not in html
        assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_an_orders_page_shows_its_timeline(viewer: Client, accept: Accept, policy: PlacementPolicy) -> None:
    order = accept(client_order_id="my own id")
    now = timezone.now()
    lifecycle.begin_attempt(order, now, policy)
    save_changes([order], lifecycle.refused(order, "closed", now, Cause(attempt=1, took_ms=12.5)))
    save_changes([order], lifecycle.retry_requested(order, now, policy, Cause(by="emil")))
    html = viewer.get(page(order)).content.decode()
    timeline = html.partition("<h2>Timeline</h2>")[2]
    assert re.findall(r'badge-(\w+)"', timeline) == ["accepted", "failed", "retry_requested"]
    assert re.findall(r"<td>(anna|Lemon Market|emil)</td>", timeline) == ["anna", "Lemon Market", "emil"]
    assert "12.5 ms" in timeline
    assert "error message: The exchange refused the order: closed" in timeline
    assert "my own id" in html


def test_the_page_of_an_order_that_does_not_exist_says_so(viewer: Client, accept: Accept) -> None:
    accept()
    for odd in ("0", "01234567-89ab-cdef-0123-456789abcdef", "x y"):
        answer: Any = viewer.get(f"{LIST}{odd}/change/", follow=True)
        assert answer.redirect_chain == [("/admin/", 302)]
        assert f"order with ID “{odd}” does" in answer.content.decode()


@pytest.mark.parametrize(
    "permissions", [["view_order"], ["view_order", "add_order", "change_order", "delete_order", "retry_order", "cancel_order"]]
)
def test_nothing_can_be_edited(staff: Any, accept: Accept, permissions: list[str]) -> None:
    client, order = staff(*permissions), accept()
    before = snapshot()
    assert 'name="quantity"' not in client.get(page(order)).content.decode()
    for path in (page(order), f"{LIST}add/", f"{LIST}{order.id}/delete/"):
        assert client.post(path, {"quantity": 1, "status": "completed", "post": "yes"}).status_code == 403, path
    client.post(LIST, {"action": "delete_selected", "_selected_action": str(order.id), "post": "yes"})
    client.post(
        LIST, {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": str(order.id), "form-0-quantity": 1, "_save": "Save"}
    )
    assert snapshot() == before


def test_not_even_a_superuser_edits(admin_client: Client, accept: Accept) -> None:
    order = accept()
    before = snapshot()
    for path in (page(order), f"{LIST}add/", f"{LIST}{order.id}/delete/"):
        assert admin_client.post(path, {"quantity": 1, "post": "yes"}).status_code == 403
    assert snapshot() == before


def test_staff_without_the_permission_to_view_see_no_orders(staff: Any, accept: Accept) -> None:
    client, order = staff(), accept()
    assert "/admin/orders/" not in client.get("/admin/").content.decode()
    for path in (LIST, page(order), f"{LIST}{order.id}/history/"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert str(order.id) not in answer.content.decode().replace(path, "")


@pytest.mark.parametrize("visitor", ["nobody", "customer"])
def test_nobody_but_staff_gets_in(accept: Accept, account: Any, visitor: str) -> None:
    order, client = accept(), Client()
    if visitor == "customer":
        client.force_login(account)
    for path in ("/admin/", LIST, page(order), "/admin/nowhere/"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Location"].startswith("/admin/login/")) == (302, True)


def test_nobody_sees_the_queue(staff: Any, admin_client: Client) -> None:
    desk_clerk = staff("view_order", "retry_order", "cancel_order")
    Task.objects.create(
        id="1" * 32,
        name="t",
        func="orders.placement.tasks.place_orders",
        started=timezone.now(),
        stopped=timezone.now(),
        success=False,
    )
    index = desk_clerk.get("/admin/").content.decode()
    assert "/admin/orders/order/" in index
    assert "/admin/django_q/" not in index
    for model in (Success, Failure, OrmQ, Schedule):
        path = f"/admin/django_q/{model._meta.model_name}/"
        for client in (desk_clerk, admin_client):
            assert client.get(path).status_code == 404
            assert client.post(path, {"action": "resubmit_task", "_selected_action": "1" * 32}).status_code == 404
    assert (OrmQ.objects.count(), Task.objects.count()) == (0, 1)


def test_dead_letters_can_be_read_and_not_changed(staff: Any) -> None:
    report = DeadLetter.objects.create(raw="{<b>", reason="unreadable", session_id="s1", sequence=7)
    path = "/admin/orders/deadletter/"
    assert staff("view_order").get(path).status_code == 403
    client = staff("view_deadletter", "change_deadletter", "delete_deadletter", "add_deadletter", name="emil")
    assert "unreadable" in client.get(path).content.decode()
    assert "{&lt;b&gt;" in client.get(f"{path}{report.pk}/change/").content.decode()
    for odd in (f"{path}{report.pk}/change/", f"{path}{report.pk}/delete/", f"{path}add/"):
        assert client.post(odd, {"reason": "fine", "post": "yes"}).status_code == 403
    assert DeadLetter.objects.get().reason == "unreadable"


def test_dead_letters_are_counted_and_shown(staff: Callable[..., Client]) -> None:
    desk = staff("view_order", "view_deadletter", name="dora")
    assert "<b>0</b> dead letters" in panel(desk)
    DeadLetter.objects.create(raw="{nonsense", reason="not JSON", session_id="s1", sequence=7)
    DeadLetter.objects.create(raw="{}", reason="applied", session_id="s1", sequence=8, applied_at=timezone.now())
    assert "<b>1</b> dead letters" in panel(desk)
    shown = desk.get("/admin/orders/deadletter/?applied_at__isempty=1").content.decode()
    assert "not JSON" in shown
    kept = DeadLetter.objects.get(sequence=7)
    assert "{nonsense" in desk.get(f"/admin/orders/deadletter/{kept.pk}/change/").content.decode()
