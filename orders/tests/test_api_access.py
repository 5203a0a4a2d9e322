"""Who may do what: tokens, sessions, the anonymous account, and that nobody reaches somebody else's orders."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha512
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.test import APIClient

from orders.api.urls import urlpatterns
from orders.models import Order
from testsupport.api_calls import MARKET, NOTHING, client_for, post, stored, token_for

Accept = Callable[..., Order]
METHODS = ["get", "head", "options", "post", "put", "patch", "delete"]


@pytest.fixture(autouse=True)
def tokens_looked_up_each_time(settings: Any) -> None:
    settings.TOKEN_CACHE_TTL = 0.0


@pytest.fixture
def bert(django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("bert")


def no_retrieval(client: Any, order: Order) -> None:
    """Bert asks for Anna's order by its id, and is answered exactly as if it did not exist."""
    for method in METHODS:
        answer, nowhere = (getattr(client, method)(f"/orders/{order_id}") for order_id in (order.id, uuid4()))
        assert (answer.status_code, answer.content) == (nowhere.status_code, nowhere.content), method
    assert client.get(f"/orders/{order.id}").status_code == 404


def no_listing(client: Any, order: Order) -> None:
    """Neither the list nor any filter shows Bert an order of Anna's, and the same id is free for him to use."""
    filters: list[dict[str, str]] = [
        {},
        {"client_order_id": order.client_order_id},
        {"instrument": order.instrument},
        {"status": "pending"},
    ]
    for given in filters:
        assert client.get("/orders", given).json()["results"] == []
    assert post(client, MARKET | {"client_order_id": order.client_order_id}).status_code == 202


def no_cancel(client: Any, order: Order) -> None:
    answer, nowhere = (client.post(f"/orders/{order_id}/cancel") for order_id in (order.id, uuid4()))
    assert (answer.status_code, answer.content) == (404, nowhere.content)


def no_batch(client: Any, order: Order) -> None:
    assert post(client, [MARKET | {"client_order_id": order.client_order_id}], "/orders/batch").status_code == 202


# Every route of the API -> how it is proved that it does not give away, or change, somebody else's order.
ISOLATION = {"order-list": no_listing, "order-batch": no_batch, "order-detail": no_retrieval, "order-cancel": no_cancel}


def test_every_url_of_the_api_is_proved_to_keep_accounts_apart() -> None:
    assert {getattr(url, "name", None) for url in urlpatterns} == set(ISOLATION)


@pytest.mark.parametrize("name", ISOLATION)
def test_somebody_elses_order_does_not_exist(accept: Accept, bert: Any, name: str) -> None:
    order = accept(client_order_id="annas")
    before = Order.objects.filter(id=order.id).values().get()
    ISOLATION[name](client_for(bert), order)
    assert Order.objects.filter(id=order.id).values().get() == before
    assert order.events.count() == 1


def test_staff_see_only_their_own_orders_here_too(accept: Accept, admin_user: Any) -> None:
    order = accept()
    client = client_for(admin_user)
    assert client.get("/orders").json()["results"] == []
    assert client.get(f"/orders/{order.id}").status_code == 404


def api_paths(order: Order) -> Iterator[tuple[str, str]]:
    """Every method of every URL of the API."""
    for url in urlpatterns:
        actions: dict[str, str] = url.callback.actions  # type: ignore[union-attr]
        for method in actions:
            yield method, "/" + str(url.pattern).replace("<uuid:pk>", str(order.id))


def test_every_url_wants_to_know_who_asks(accept: Accept) -> None:
    order = accept()
    before = stored()
    calls = [*api_paths(order), ("options", "/orders"), ("delete", "/orders")]
    for method, path in calls:
        answer = getattr(APIClient(), method)(path)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Token"), (method, path)
        assert method == "head" or answer.json() == {"detail": "Authentication credentials were not provided."}
    assert {path for _, path in calls} == {"/orders", "/orders/batch", f"/orders/{order.id}", f"/orders/{order.id}/cancel"}
    assert stored() == before


def test_a_token_opens_the_api(account: Any) -> None:
    client = client_for(account)
    assert post(client, MARKET).status_code == 202
    assert client.get("/orders").json()["results"][0]["quantity"] == 100


def test_a_token_is_stored_hashed(account: Any) -> None:
    token = token_for(account)
    [row] = AuthToken.objects.values()
    assert row["digest"] == sha512(token.encode()).hexdigest()
    assert token not in map(str, row.values())


@pytest.mark.parametrize(
    "credentials",
    [
        *("Token", "Token ", "Token a b", "Token 0", "Token " + "a" * 64, "Token " + "a" * 100_000),
        *("Token \xff\xfe", "Token a\0b", "Token é", "Bearer x", "Basic YW5uYTp4", "x", "token", ""),
    ],
)
@pytest.mark.parametrize("anonymous", ["", "anna"])
def test_wrong_credentials_are_refused_and_never_taken_for_none(
    account: Any, settings: Any, credentials: str, anonymous: str
) -> None:
    settings.ANONYMOUS_ACCOUNT = anonymous
    answer = post(APIClient(), MARKET, Authorization=credentials)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Token")
    assert stored() == NOTHING


def test_a_token_with_one_wrong_character_is_refused(account: Any) -> None:
    token = token_for(account)
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    answer = APIClient().get("/orders", headers={"Authorization": f"Token {wrong}"})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid token."})


def test_a_revoked_token_is_refused_and_the_others_are_not(account: Any) -> None:
    first, second = client_for(account), client_for(account)
    AuthToken.objects.earliest("created").delete()
    assert first.get("/orders").status_code == 401
    assert second.get("/orders").status_code == 200


@pytest.mark.parametrize("anonymous", ["", "bert"])
@pytest.mark.usefixtures("bert")
def test_the_token_of_an_inactive_account_is_refused(account: Any, settings: Any, anonymous: str) -> None:
    settings.ANONYMOUS_ACCOUNT = anonymous
    client = client_for(account)
    account.is_active = False
    account.save()
    answer = post(client, MARKET)
    assert (answer.status_code, answer.json()) == (401, {"detail": "User inactive or deleted."})
    assert stored() == NOTHING


def test_requests_without_credentials_act_as_the_anonymous_account(accept: Accept, bert: Any, settings: Any) -> None:
    settings.ANONYMOUS_ACCOUNT = "bert"
    annas = accept()
    answer = post(APIClient(), MARKET)
    assert answer.status_code == 202
    assert Order.objects.exclude(id=annas.id).get().account == bert
    assert [order["id"] for order in APIClient().get("/orders").json()["results"]] == [answer.json()["id"]]


def test_a_token_counts_for_more_than_the_anonymous_account(account: Any, bert: Any, settings: Any) -> None:
    settings.ANONYMOUS_ACCOUNT = "bert"
    post(client_for(account), MARKET)
    assert Order.objects.get().account == account


@pytest.mark.parametrize("name", ["nobody", "inactive", "ANNA", ""])
def test_an_anonymous_account_that_cannot_be_used_lets_nobody_in(account: Any, bert: Any, settings: Any, name: str) -> None:
    bert.username, bert.is_active = "inactive", False
    bert.save()
    settings.ANONYMOUS_ACCOUNT = name
    assert post(APIClient(), MARKET).status_code == 401
    assert stored() == NOTHING


def test_a_deployment_with_an_anonymous_account_is_refused(settings: Any) -> None:
    settings.ANONYMOUS_ACCOUNT = "demo"
    with pytest.raises(SystemCheckError, match=r"orders\.E004"):
        call_command("check", deploy=True)


def test_a_session_may_read_and_needs_a_csrf_token_to_write(account: Any, settings: Any) -> None:
    settings.ANONYMOUS_ACCOUNT = "anna"
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(account)
    assert browser.get("/orders").status_code == 200
    answer = post(browser, MARKET)
    assert (answer.status_code, stored()) == (403, NOTHING)
    assert answer.json()["detail"].startswith("CSRF Failed")
    token = "t" * 32
    browser.cookies["csrftoken"] = token
    assert post(browser, MARKET, **{"X-CSRFToken": token}).status_code == 202


def test_pages_use_a_session_and_the_api_does_not_touch_it(account: Any, admin_user: Any) -> None:
    """Not even when a browser sends its cookie beside the token, which is of another account here."""
    client = client_for(account)
    client.force_login(admin_user)
    with CaptureQueriesContext(connection) as queries:
        answers = [post(client, MARKET), post(client, [MARKET], "/orders/batch"), client.get("/orders"), client.get("/orders/x")]
    assert [answer.status_code for answer in answers] == [202, 202, 200, 404]
    assert not [query for query in queries.captured_queries if "django_session" in query["sql"]]
    assert not any(hasattr(answer.wsgi_request, "session") for answer in answers)
    assert {order.account for order in Order.objects.select_related("account")} == {account}
    with CaptureQueriesContext(connection) as queries:
        page = client.get("/")
    assert [query for query in queries.captured_queries if "django_session" in query["sql"]]
    assert page.wsgi_request.session.session_key == client.cookies["sessionid"].value
    assert page.context["account"] == admin_user


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_orders_are_neither_changed_nor_deleted(accept: Accept, account: Any, method: str) -> None:
    order = accept()
    before = Order.objects.values().get()
    client = client_for(account)
    for path in ("/orders", f"/orders/{order.id}"):
        answer = getattr(client, method)(path, {"quantity": 1}, format="json")
        assert (answer.status_code, answer.json()) == (405, {"detail": f'Method "{method.upper()}" not allowed.'})
    assert Order.objects.values().get() == before


def test_a_single_order_cannot_be_posted_to(accept: Accept, account: Any) -> None:
    order = accept()
    assert post(client_for(account), MARKET, f"/orders/{order.id}").status_code == 405
    assert stored() == {"orders": 1, "events": 1, "wake_ups": 1}


def test_options_say_what_is_allowed(accept: Accept, account: Any) -> None:
    client = client_for(account)
    for path, allowed in (("/orders", "GET, POST, HEAD, OPTIONS"), (f"/orders/{accept().id}", "GET, HEAD, OPTIONS")):
        answer = client.options(path)
        assert (answer.status_code, answer.headers["Allow"]) == (200, allowed)


def test_a_token_that_has_expired_is_refused(account: Any) -> None:
    client = client_for(account)
    AuthToken.objects.update(expiry=timezone.now() + timedelta(minutes=1))
    assert client.get("/orders").status_code == 200
    AuthToken.objects.update(expiry=timezone.now())
    answer = client.get("/orders")
    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid token."})
