from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.test import Client as Browser
from django.utils import timezone

from lemon_market.asgi import application
from notifications.tests.order_changes import accept, event_types, place, token_of
from notifications.tests.talking import Closed, ServiceProcess
from orders.roles import make_roles


@pytest.fixture
def bert(transactional_db):
    return User.objects.create_user("bert")


def session_cookie(user):
    browser = Browser()
    browser.force_login(user)
    return f"sessionid={browser.cookies['sessionid'].value}"


def test_an_account_hears_of_its_own_orders_and_of_no_others(service, clients, anna, bert, token):
    of_anna = clients.subscribe(service.url, token)
    of_bert = clients.subscribe(service.url, token_of(bert))
    [other] = accept(bert)
    [order] = accept(anna)
    [accepted] = of_anna.events(1)
    place(order)
    [placed] = of_anna.events(1)
    assert (accepted["type"], accepted["order"]["status"]) == ("accepted", "pending")
    assert (placed["type"], placed["order"]["status"], placed["order"]["execution_status"]) == ("placed", "completed", "new")
    assert {accepted["order_id"], placed["order_id"]} == {str(order.id)}
    place(other)
    assert [event["order_id"] for event in of_bert.events(2)] == [str(other.id)] * 2


def test_staff_with_the_permission_and_superusers_hear_of_all(service, clients, anna, bert, chief):
    desk = clients.subscribe(service.url, token_of(chief))
    root = clients.subscribe(service.url, token_of(User.objects.create_superuser("root")))
    assert (desk.hello["sees_all"], root.hello["sees_all"]) == (True, True)
    orders = accept(anna) + accept(bert) + accept(chief)
    expected = [str(order.id) for order in orders]
    assert [event["order_id"] for event in desk.events(3)] == expected
    assert [event["order_id"] for event in root.events(3)] == expected


def test_neither_staff_alone_nor_the_permission_alone_is_enough(service, clients, anna, bert):
    clerk = User.objects.create_user("clerk", is_staff=True)
    bert.user_permissions.add(Permission.objects.get(codename="view_order"))
    curious = [(user, clients.subscribe(service.url, token_of(user))) for user in (clerk, bert)]
    accept(anna)
    for user, client in curious:
        assert client.hello["sees_all"] is False
        [own] = accept(user)
        assert client.events(1)[0]["order_id"] == str(own.id)


def test_a_browser_presents_its_token_as_a_subprotocol(service, clients, anna, token):
    client = clients.subscribe(service.url, subprotocols=("token", token))
    assert client.socket.protocol == "token"
    assert client.hello["account"] == "anna"


def test_a_session_is_enough(service, clients, anna):
    client = clients.subscribe(service.url, Cookie=session_cookie(anna), Origin="http://localhost:8000")
    assert client.hello["account"] == "anna"


def test_the_header_comes_before_the_subprotocol_and_that_before_the_session(service, clients, anna, bert, chief, token):
    everything = {"subprotocols": ("token", token_of(bert)), "Cookie": session_cookie(chief)}
    assert clients.subscribe(service.url, token, **everything).hello["account"] == "anna"
    assert clients.subscribe(service.url, **everything).hello["account"] == "bert"


def test_the_anonymous_account_is_for_those_without_credentials(trial_service, clients):
    demo = User.objects.create_user("demo")
    client = clients.subscribe(trial_service.url)
    assert client.hello["account"] == "demo"
    accept(demo)
    assert event_types(client.events(1)) == ["accepted"]


WRONG: dict[str, Any] = {
    "unknown token": {"Authorization": f"Token {'a' * 64}"},
    "token with odd characters": {"Authorization": "Token ../../\xe9"},
    "no token": {"Authorization": "Token"},
    "two tokens": {"Authorization": "Token a b"},
    "other scheme": {"Authorization": "Basic YW5uYTphbm5h"},
    "empty header": {"Authorization": ""},
    "unknown session": {"Cookie": "sessionid=abcdefghijklmnopqrstuvwxyz012345"},
    "session with odd characters": {"Cookie": 'sessionid="a\\000bcdefghijk"'},
    "empty session": {"Cookie": "sessionid="},
    "unknown token as subprotocol": {"subprotocols": ("token", "a" * 64)},
    "subprotocol without token": {"subprotocols": ("token",)},
    "subprotocol with two tokens": {"subprotocols": ("token", "a", "b")},
    "other subprotocol": {"subprotocols": ("graphql-ws",)},
}


def test_wrong_credentials_are_never_taken_for_none(trial_service, clients, transactional_db):
    User.objects.create_user("demo")
    for what, wrong in WRONG.items():
        code, reason = clients.connect(trial_service.url, **wrong).closing()
        assert code == 4401, what
        assert reason


def test_without_an_anonymous_account_credentials_are_needed(service, clients, transactional_db):
    User.objects.create_user("demo")
    code, reason = clients.connect(service.url).closing()
    assert (code, reason) == (4401, "Credentials are missing: send the header Authorization: Token <token>.")


def test_an_anonymous_account_that_is_closed_is_nobodys(trial_service, clients):
    User.objects.create_user("demo", is_active=False)
    assert clients.connect(trial_service.url).closing()[0] == 4401


def test_a_revoked_token_ends_the_connection(service, clients, anna, token):
    kept = clients.subscribe(service.url, token_of(anna))
    client = clients.subscribe(service.url, token)
    anna.auth_token_set.filter(token_key=token[:15]).delete()
    assert client.closing() == (4401, "The token is invalid, expired or revoked.")
    assert kept.is_alive()


def test_a_token_that_expires_ends_the_connection(service, clients, client, anna, token):
    anna.auth_token_set.update(expiry=timezone.now() - timedelta(seconds=1))
    assert client.closing() == (4401, "The token is invalid, expired or revoked.")
    assert clients.connect(service.url, token).closing()[0] == 4401


def test_a_token_that_is_revoked_in_the_back_office_ends_the_connection(service, clients, client, anna, token):
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))
    row = anna.auth_token_set.get(token_key=token[:15])
    assert browser.post(f"/admin/knox/authtoken/{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert client.closing()[0] == 4401


def test_an_address_that_guesses_tokens_has_to_wait(tmp_path, clients, anna, token):
    with ServiceProcess(tmp_path, FAILED_LOGINS_PER_MINUTE="3") as strict:
        kept = clients.subscribe(strict.url, token)
        codes = [clients.connect(strict.url, "a" * 64).closing()[0] for _ in range(4)]
        # A minute may end in between.
        assert codes in ([4401] * 3 + [4429], [4401] * 4)
        assert clients.subscribe(strict.url, token).is_alive()
        assert kept.is_alive()


@pytest.mark.parametrize(
    ("role", "sees_all"), [(None, False), ("desk viewer", True), ("desk operator", True), ("administrator", True)]
)
def test_every_role_of_the_order_desk_hears_of_all_accounts(service, clients, anna, role, sees_all):
    make_roles(apps, None)
    person = User.objects.create_user("dora", is_staff=True)
    person.groups.set(Group.objects.filter(name=role))
    desk = clients.subscribe(service.url, token_of(person))
    assert desk.hello["sees_all"] is sees_all


def test_closing_the_account_ends_the_connection_and_no_other_is_made(service, clients, client, anna, token):
    cookie = session_cookie(anna)
    User.objects.update(is_active=False)
    assert client.closing()[0] == 4401
    assert clients.connect(service.url, token).closing()[0] == 4401
    assert clients.connect(service.url, Cookie=cookie).closing()[0] == 4401


def test_logging_out_ends_the_connection(service, clients, anna):
    client = clients.subscribe(service.url, Cookie=session_cookie(anna))
    Session.objects.all().delete()
    assert client.closing() == (4401, "The session has ended: log in again.")


def test_losing_the_permission_ends_the_connection(service, clients, chief):
    desk = clients.subscribe(service.url, token_of(chief))
    chief.user_permissions.clear()
    assert desk.closing()[0] == 1013
    assert clients.subscribe(service.url, token_of(chief)).hello["sees_all"] is False


def test_no_address_shows_anything_to_somebody_else(service, clients, anna, bert, token):
    """Walks through everything that is routed, so that an address that is added is looked at too."""
    accept(anna)
    own = clients.subscribe(service.url, token)
    paths = [str(route.pattern) for route in application.application_mapping["websocket"].routes]
    assert "ws/orders" in paths
    for path in [*paths, "ws/orders/", "ws", "orders"]:
        for after in (None, "beginning", own.hello["after"]):
            stranger = clients.connect(service.url.replace("ws/orders", path), token_of(bert), after=after)
            seen = []
            with suppress(Closed):
                seen.append(stranger.next())
                accept(anna)
                [order] = accept(bert)
                while seen[-1].get("order_id") != str(order.id):
                    seen.append(stranger.next())
            assert {message.get("order_id") for message in seen} <= {None, *(str(order.id) for order in bert.orders.all())}
