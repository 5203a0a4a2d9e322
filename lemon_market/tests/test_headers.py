"""What browsers are told with every kind of answer. That the pages work under it is tried in lemon_market/tests/browser."""

from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from lemon_market.headers import NOTHING
from orders.order_entry.service import NewOrder, accept_orders

Policy = dict[str, set[str]]
NO_SOURCE = {"'none'"}
SELF = {"'self'"}


@pytest.fixture
def client(admin_user: Any) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(admin_user)
    return client


def policy(answer: Any) -> Policy:
    directives = [directive.split() for directive in answer.headers["Content-Security-Policy"].split(";")]
    assert len({name for name, *_ in directives}) == len(directives)
    return {name: set(sources) for name, *sources in directives}


STRICT = {"script-src": SELF, "style-src": SELF}
DOCUMENTATION = {"script-src": SELF, "style-src": {"'self'", "'unsafe-inline'"}}
BACK_OFFICE = {"script-src": {"'self'", "'unsafe-eval'"}, "style-src": {"'self'", "'unsafe-inline'"}}
PAGES = {
    "/": STRICT,
    "/nowhere": STRICT,
    "/docs": DOCUMENTATION,
    "/admin/": BACK_OFFICE,
    "/admin/blotter/": BACK_OFFICE,
    "/admin/orders/order/": BACK_OFFICE,
    "/admin/nowhere/": BACK_OFFICE,
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_only_its_own_scripts(client: Client, path: str) -> None:
    found = policy(client.get(path))
    assert found["script-src"] == PAGES[path]["script-src"]
    assert found["style-src"] == PAGES[path]["style-src"]
    assert found["default-src"] == found["base-uri"] == found["frame-ancestors"] == NO_SOURCE
    assert found["connect-src"] == {"'self'", f"ws://testserver:{settings.NOTIFICATIONS_PORT}"}
    assert found["form-action"] == SELF
    assert "'unsafe-inline'" not in found["script-src"]


@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
@pytest.mark.django_db
def test_who_has_not_signed_in_gets_the_same(path: str) -> None:
    assert policy(Client().get(path))["script-src"] == PAGES["/admin/" if "admin" in path else "/"]["script-src"]


def test_the_page_of_one_order_is_told_where_its_events_are(client: Client, account: Any, settings: Any) -> None:
    [order] = accept_orders(account.pk, [NewOrder("market", "buy", "AAPL_2025_03", 100)]).orders
    settings.NOTIFICATIONS_URL = "wss://live.example/ws/orders"
    found = policy(client.get(reverse("admin:orders_order_change", args=[order.id])))
    assert found["connect-src"] == {"'self'", "wss://live.example"}


@pytest.mark.parametrize(
    "path",
    [
        *("/orders", "/orders/batch", "/schema", "/docs?script=", "/health/live", "/health/ready", "/metrics"),
        *("/static/orders/live.js", "/admin/blotter/latest", "/admin/jsi18n/", "/admin/orders/order/export/"),
    ],
)
def test_what_is_no_page_may_do_nothing(client: Client, path: str) -> None:
    answer = client.get(path)
    # A file is open until it is read.
    answer.getvalue()
    assert not answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Content-Security-Policy"] == NOTHING


KINDS = [*PAGES, "/login", "/orders", "/schema", "/health/live", "/static/orders/live.js", "/static/nothing.js"]


@pytest.mark.parametrize("path", KINDS)
def test_every_answer_keeps_browsers_careful(client: Client, path: str) -> None:
    answer = client.get(path)
    answer.getvalue()
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    if not path.startswith("/static/o"):
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_an_answer_about_a_wrong_host_is_careful_too(client: Client) -> None:
    answer = client.get("/", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["X-Frame-Options"]) == (400, "DENY")
    assert policy(answer)["connect-src"] == SELF


@pytest.mark.parametrize("path", ["/", "/orders", "/admin/", "/admin/orders/order/export/", "/admin/blotter/latest", "/metrics"])
def test_no_cache_keeps_what_is_told_of_orders(client: Client, path: str) -> None:
    assert "no-store" in client.get(path).headers["Cache-Control"]


@pytest.mark.django_db
def test_plain_http_is_left_behind(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 100
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = settings.SECURE_HSTS_PRELOAD = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    answer = Client().get("/login")
    assert (answer.status_code, answer.headers["Location"]) == (301, "https://testserver/login")
    assert Client().get("/health/live").status_code == Client().get("/metrics").status_code == 200
    secure = Client().get("/login", headers={"X-Forwarded-Proto": "https"})
    assert secure.status_code == 200
    assert secure.headers["Strict-Transport-Security"] == "max-age=100; includeSubDomains; preload"
    assert policy(secure)["connect-src"] == {"'self'", f"wss://testserver:{settings.NOTIFICATIONS_PORT}"}
