"""Walks through every address of the web process as every kind of visitor, and holds what happens against who_may_do_what.txt.

An address that is added has to be added there, too. Run as a program in the place of the test, `WRITE_ACCESS_TABLE=1`, it
writes the table anew, to be read line by line before it is committed.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from lemon_market.tests.url_map import addresses
from orders.models import AccountLimits, DeadLetter, FeedConnection, FeedPosition, Halt, Order, OrderEvent, SafetyEvent
from orders.order_entry.service import NewOrder, accept_orders
from orders.roles import make_roles
from testsupport.api_calls import MARKET

TABLE = Path(__file__).with_name("who_may_do_what.txt")
ROLES = {"viewer": "desk viewer", "operator": "desk operator", "administrator": "administrator"}
VISITORS = ["anonymous", "other", "owner", "staff", *ROLES]
OWNER = "olivia"
# What makes a page tell something of the owner's order, or account.
QUERIES = {
    "/admin/search/": "?s=OWNEROFORDER&extended=1",
    "/admin/autocomplete/": "?app_label=orders&model_name=accountlimits&field_name=account&term=oli",
}
PASSWORD = "Quite-long-7-word"
# Whatever else they do, these only read.
WATCHED = [Order, OrderEvent, User, AuthToken, Group, Halt, AccountLimits, SafetyEvent, FeedPosition, DeadLetter]


class World:
    """An order of one account, one of each other thing, and a client for each visitor."""

    def __init__(self) -> None:
        make_roles(apps, None)
        people = {name: User.objects.create_user(OWNER if name == "owner" else name) for name in VISITORS if name != "anonymous"}
        for name in ("staff", *ROLES):
            people[name].is_staff = True
            people[name].save()
            people[name].groups.set(Group.objects.filter(name=ROLES.get(name)))
        self.owner, self.without_limits = people["owner"], people["other"]
        terms = NewOrder("market", "buy", "OWNEROFORDER", 7, client_order_id="olivias-own")
        [self.order] = accept_orders(self.owner.pk, [terms]).orders
        token, _ = AuthToken.objects.create(self.owner)
        halt = Halt.objects.create(instrument="HALTED______", started_by="x", reason="x")
        now = timezone.now()
        self.ids = {
            "orders/order": self.order.id,
            "auth/group": Group.objects.earliest("id").pk,
            "auth/user": self.owner.pk,
            "knox/authtoken": token.pk,
            "orders/accountlimits": AccountLimits.objects.create(account=self.owner, max_quantity=100).pk,
            "orders/feedconnection": FeedConnection.objects.create(feed="f", is_connected=True, since=now, said_at=now).pk,
            "orders/feedposition": FeedPosition.objects.create(feed="f", session_id="s", sequence=1).pk,
            "orders/halt": halt.pk,
            "orders/safetyevent": SafetyEvent.objects.create(type="halted", account=people["other"], by="x", reason="x").pk,
            "orders/deadletter": DeadLetter.objects.create(raw="x", reason="x", session_id="s").pk,
        }
        self.clients = {name: Client(raise_request_exception=False) for name in VISITORS}
        for name, person in people.items():
            self.clients[name].force_login(person)

    def path(self, address: str) -> str:
        """The address with ids of what there is in the place of its variables."""
        found = re.search(r"/admin/(\w+/\w+)/<", address)
        path = address.replace("<path:content_type_id>", str(ContentType.objects.get_for_model(Order).pk))
        path = path.replace("(?P<app_label>orders|auth|knox)", "orders").replace("(?P<url>.*)", "nowhere").removesuffix("$")
        return re.sub(r"<[^>]+>", str(self.ids[found[1]] if found else self.order.id), path)

    def visit(self, name: str, method: str, address: str) -> str:
        """What happens, as the table says it; nothing of it lasts."""
        path, before = self.path(address), state()
        with transaction.atomic():
            client = self.clients[name]
            cookies = client.cookies.copy()
            answer = client.get(path + QUERIES.get(address, "")) if method == "GET" else client.post(path, **self.form(address))
            text = answer.getvalue().decode()
            # Signing out is not for the next visit.
            client.cookies.clear()
            client.cookies.update(cookies)
            seen = name != "owner" and any(secret in text for secret in ("olivias-own", "OWNEROFORDER", str(self.order.id)))
            # A page that only asks to sign in repeats the address that was asked for.
            where = answer.headers.get("Location", "")
            is_changed = state() != before
            transaction.set_rollback(True)
        if answer.status_code == 302 and re.match(r"(/admin)?/login", where):
            assert not is_changed
            return "sign-in"
        assert answer.status_code < 500, (name, method, address, text[:500])
        is_told = seen and answer.status_code < 300
        return f"{answer.status_code}{' sees' if is_told else ''}{' changes' if is_changed else ''}"

    def form(self, address: str) -> dict[str, Any]:
        """What a POST there would have to say to change something."""
        if address.startswith("/orders"):
            body: Any = [MARKET] if address.endswith("batch") else MARKET
            return {"data": body, "content_type": "application/json"}
        forms: dict[str, dict[str, Any]] = {
            "/": MARKET,
            "/admin/auth/user/<id>/password/": {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"},
            "/admin/auth/user/add/": {"username": "new", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"},
            "/admin/auth/user/<path:object_id>/change/": {
                "username": OWNER, "is_active": "on", "is_staff": "on", "date_joined_0": "2030-01-31", "date_joined_1": "12:00",
            },
            "/admin/auth/group/add/": {"name": "new"},
            "/admin/auth/group/<path:object_id>/change/": {"name": "new"},
            "/admin/orders/halt/halt/": {"scope": "instrument", "name": "OTHER_______", "reason": "x"},
            "/admin/orders/accountlimits/add/": {"account": self.without_limits.pk, "max_quantity": 5, "reason": "x"},
            "/admin/orders/accountlimits/<path:object_id>/change/": {"max_quantity": 5, "reason": "x"},
        }  # fmt: skip
        return {"data": forms.get(address, {"post": "yes", "reason": "x"})}


def state() -> list[Any]:
    # When somebody signed in last is of no interest.
    return [sorted(map(str, model.objects.values_list())) for model in WATCHED]


def table(world: World) -> Iterator[str]:
    yield line("", "", VISITORS)
    for address in addresses():
        for method in ("GET", "POST"):
            cells = [world.visit(name, method, address) for name in VISITORS]
            yield line(method, address, cells)


def line(method: str, address: str, cells: list[str]) -> str:
    return f"{method:<5}{address:<60}{''.join(f'{cell:<16}' for cell in cells)}".rstrip()


@pytest.fixture
def world(db: None, settings: Any) -> World:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # Nobody answers there; what it says is no secret.
    settings.EXCHANGE_IS_SIMULATED, settings.EXCHANGE_URL = True, "http://127.0.0.1:1"
    return World()


def test_everybody_may_do_what_the_table_says_and_nothing_else(world: World) -> None:
    found = list(table(world))
    if os.environ.get("WRITE_ACCESS_TABLE"):
        TABLE.write_text("\n".join(found) + "\n")
    assert found == TABLE.read_text().splitlines()


def rows() -> dict[tuple[str, str], dict[str, str]]:
    """What the table says: method and address -> visitor -> what happens."""
    lines = TABLE.read_text().splitlines()[1:]
    return {
        (line[:5].strip(), line[5:65].strip()): {
            name: line[65 + 16 * number : 81 + 16 * number].strip() for number, name in enumerate(VISITORS)
        }
        for line in lines
    }


def test_every_address_is_in_the_table() -> None:
    assert sorted({address for _, address in rows()}) == addresses()


@pytest.mark.parametrize("visitor", ["anonymous", "other", "staff"])
def test_nobody_without_a_role_sees_or_changes_what_is_somebody_elses(visitor: str) -> None:
    """What they may change is only to place orders of their own."""
    own = {("POST", "/"), ("POST", "/orders"), ("POST", "/orders/batch")} if visitor != "anonymous" else set()
    assert {key for key, row in rows().items() if "sees" in row[visitor]} == set()
    assert {key for key, row in rows().items() if "changes" in row[visitor]} == own


def test_a_viewer_changes_nothing_but_by_orders_of_their_own() -> None:
    assert {address for (_, address), row in rows().items() if "changes" in row["viewer"]} == {"/", "/orders", "/orders/batch"}


def test_reading_changes_nothing() -> None:
    assert not [key for key, row in rows().items() if key[0] == "GET" and "changes" in " ".join(row.values())]


def test_the_back_office_asks_those_to_sign_in_who_are_no_staff() -> None:
    open_to_all = {"/admin/login/", "/admin/jsi18n/", "/admin$", "/admin/logout/"}
    for (_, address), row in rows().items():
        if address.startswith("/admin") and address not in open_to_all:
            for visitor in ("anonymous", "other", "owner"):
                assert row[visitor] in {"sign-in", "302", "405"}, (address, row)


def test_an_order_of_somebody_else_is_not_found_as_one_that_does_not_exist(world: World) -> None:
    for visitor in ("other", "staff", *ROLES):
        client = world.clients[visitor]
        for path in ("/orders/{}", "/orders/{}/cancel", "/cancel/{}"):
            answers = [getattr(client, method)(path.format(id)) for id in (world.order.id, uuid4()) for method in ("get", "post")]
            assert [a.status_code for a in answers[:2]] == [a.status_code for a in answers[2:]]
