"""What each role may do, on the pages and by direct requests."""

import csv
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.test import Client
from knox.models import AuthToken

from orders.models import DeadLetter, Order
from orders.roles import make_roles
from orders.states import Status
from orders.tests.desk import LIST, page, refuse, snapshot

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]
ROLES = ["desk viewer", "desk operator", "administrator"]
ACTING = ["desk operator", "administrator"]
ADMINISTRATION = ["/admin/auth/user/", "/admin/auth/group/", "/admin/knox/authtoken/"]
READING = ["/admin/orders/deadletter/", "/admin/orders/feedposition/", "/admin/orders/feedconnection/"]


@pytest.fixture(autouse=True)
def roles() -> None:
    # Other tests may have emptied the tables since they were migrated.
    make_roles(apps, None)


@pytest.fixture
def sign_in(django_user_model: Any) -> Callable[..., Client]:
    def sign_in_as(*roles: str) -> Client:
        person = django_user_model.objects.create_user("dora", is_staff=True)
        person.groups.set(Group.objects.filter(name__in=roles))
        assert person.groups.count() == len(roles)
        client = Client()
        client.force_login(person)
        return client

    return sign_in_as


@pytest.mark.parametrize("role", ROLES)
def test_every_role_sees_the_orders_and_exports_them(sign_in: Callable[..., Client], accept: Accept, role: str) -> None:
    client, order = sign_in(role), accept()
    for path in ("/admin/", f"{LIST}overview/", LIST, page(order), f"{LIST}{order.id}/state/", *READING):
        assert client.get(path).status_code == 200, path
    exported = b"".join(client.get(f"{LIST}export/")).decode()
    assert [row["id"] for row in csv.DictReader(exported.splitlines())] == [str(order.id)]
    assert f"{LIST}export/" in client.get(LIST).content.decode()


def test_an_administrator_does_not_see_tokens_of_superusers(sign_in: Callable[..., Client], admin_user: Any) -> None:
    AuthToken.objects.create(admin_user)
    client = sign_in("administrator")
    AuthToken.objects.create(type(admin_user).objects.get(username="dora"))
    shown = client.get("/admin/knox/authtoken/").context["cl"].result_list
    assert [token.user.username for token in shown] == ["dora"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", ["retry", "cancel"])
def test_operators_and_administrators_act_and_viewers_do_not(
    sign_in: Callable[..., Client], accept: Accept, role: str, action: str
) -> None:
    client, one, other = sign_in(role), refuse(accept()), refuse(accept())
    may = role in ACTING
    before = snapshot()
    assert (f"{LIST}{one.id}/{action}/" in client.get(page(one)).content.decode()) == may
    assert (f'value="{action}_selected"' in client.get(LIST).content.decode()) == may
    assert client.post(f"{LIST}{one.id}/{action}/").status_code == (302 if may else 403)
    form = {"action": f"{action}_selected", "_selected_action": str(other.id), "confirmed": "yes"}
    client.post(LIST, form)
    if not may:
        assert snapshot() == before
        return
    expected = Status.PENDING if action == "retry" else Status.CANCELED
    for order in (one, other):
        order.refresh_from_db()
        assert order.status == expected
        assert "dora" in order.events.values_list("data__by", flat=True)


@pytest.mark.parametrize("role", ROLES)
def test_no_role_edits_orders_or_reports(sign_in: Callable[..., Client], accept: Accept, role: str) -> None:
    client, order = sign_in(role), accept()
    report = DeadLetter.objects.create(raw="{", reason="unreadable", session_id="s1", sequence=7)
    before = snapshot()
    reports = "/admin/orders/deadletter/"
    for path in (page(order), f"{LIST}add/", f"{LIST}{order.id}/delete/", f"{reports}add/", f"{reports}{report.pk}/delete/"):
        assert client.post(path, {"quantity": 1, "status": "completed", "post": "yes"}).status_code == 403, path
    client.post(LIST, {"action": "delete_selected", "_selected_action": str(order.id), "post": "yes"})
    assert snapshot() == before
    assert DeadLetter.objects.count() == 1


@pytest.mark.parametrize("role", ROLES)
def test_only_administrators_see_accounts_roles_and_tokens(sign_in: Callable[..., Client], role: str) -> None:
    client = sign_in(role)
    expected = 200 if role == "administrator" else 403
    for path in ADMINISTRATION:
        assert client.get(path).status_code == expected, path
        assert (path in client.get("/admin/").content.decode()) == (role == "administrator")
    assert client.post("/admin/auth/user/add/", {"username": "x"}).status_code == expected


def test_an_administrator_gives_a_role_and_revokes_a_token(
    sign_in: Callable[..., Client], account: Any, django_user_model: Any
) -> None:
    client = sign_in("administrator")
    operator = Group.objects.get(name="desk operator")
    form = {"username": "anna", "is_active": "on", "is_staff": "on", "groups": [operator.pk]}
    form |= {"date_joined_0": "2030-01-31", "date_joined_1": "12:00:00"}
    assert client.post(f"/admin/auth/user/{account.pk}/change/", form).status_code == 302
    assert django_user_model.objects.get(pk=account.pk).has_perm("orders.retry_order")
    token, _ = AuthToken.objects.create(account)
    assert token.token_key in client.get("/admin/knox/authtoken/").content.decode()
    assert client.post(f"/admin/knox/authtoken/{token.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not AuthToken.objects.exists()
    assert client.get("/admin/knox/authtoken/add/").status_code == 403


def test_an_administrator_cannot_become_a_superuser(sign_in: Callable[..., Client], admin_user: Any, account: Any) -> None:
    client = sign_in("administrator")
    form = {"username": "anna", "is_active": "on", "is_superuser": "on", "date_joined_0": "2030-01-31", "date_joined_1": "12:00"}
    client.post(f"/admin/auth/user/{account.pk}/change/", form)
    account.refresh_from_db()
    assert not account.is_superuser
    client.post(f"/admin/auth/user/{admin_user.pk}/password/", {"password1": "x" * 20, "password2": "x" * 20})
    admin_user.refresh_from_db()
    assert admin_user.check_password("password")
    assert "admin" not in [person.username for person in client.get("/admin/auth/user/").context["cl"].result_list]


def test_staff_without_a_role_see_and_do_nothing(sign_in: Callable[..., Client], accept: Accept) -> None:
    client, order = sign_in(), refuse(accept())
    before = snapshot()
    for path in (LIST, page(order), f"{LIST}{order.id}/state/", f"{LIST}overview/", f"{LIST}export/", *READING, *ADMINISTRATION):
        answer = client.get(path)
        assert answer.status_code == 403, path
        assert order.instrument not in answer.content.decode()
    for action in ("retry", "cancel"):
        assert client.post(f"{LIST}{order.id}/{action}/").status_code == 403
        answer = client.post(LIST, {"action": f"{action}_selected", "_selected_action": str(order.id), "confirmed": "yes"})
        assert answer.status_code == 403
    assert snapshot() == before


@pytest.mark.parametrize("path", [LIST, f"{LIST}export/", f"{LIST}overview/"])
def test_accounts_that_are_no_staff_do_not_get_in(account: Any, path: str) -> None:
    account.groups.set(Group.objects.all())
    client = Client()
    client.force_login(account)
    assert client.get(path).headers["Location"].startswith("/admin/login/")


def test_the_roles_are_made_before_django_has_made_its_permissions() -> None:
    """As in a fresh database, where permissions follow after the last migration; and making them twice changes nothing."""
    expected = {group.name: sorted(group.permissions.values_list("codename", "name")) for group in Group.objects.all()}
    Group.objects.all().delete()
    Permission.objects.all().delete()
    for _ in range(2):
        make_roles(apps, None)
        assert {g.name: sorted(g.permissions.values_list("codename", "name")) for g in Group.objects.all()} == expected
    for config in apps.get_app_configs():
        create_permissions(config, verbosity=0)
    assert Permission.objects.filter(codename="view_order").count() == 1


def test_making_the_roles_again_keeps_what_an_installation_added() -> None:
    viewer = Group.objects.get(name="desk viewer")
    viewer.permissions.add(Permission.objects.get(codename="cancel_order"))
    make_roles(apps, None)
    assert viewer.permissions.filter(codename="cancel_order").exists()
