"""The trading page as the server renders it, and its forms without JavaScript."""

from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from infrastructure import throttling
from orders import lifecycle
from orders.models import AccountLimits, Order
from orders.risk.switches import halt_trading
from orders.storage import save_changes
from testsupport.api_calls import MARKET, client_for, post, stored
from testsupport.simulator_process import SimulatorProcess
from trading import views

TICKET = {
    "client_order_id": "t1",
    "type": "market",
    "side": "buy",
    "instrument": "AAPL_2025_03",
    "quantity": "100",
    "limit_price": "",
}


@pytest.fixture
def client(account: Any) -> Client:
    """Anna's browser."""
    client = Client()
    client.force_login(account)
    return client


@pytest.fixture
def demo(settings: Any, db: None) -> Any:
    settings.ANONYMOUS_ACCOUNT = "demo"
    return get_user_model().objects.create_user("demo")


def terms(order: Order) -> tuple[Any, ...]:
    price = None if order.limit_price is None else str(order.limit_price)
    return order.account.username, order.client_order_id, order.type, order.side, order.instrument, order.quantity, price


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_visitor_without_an_account_is_asked_to_sign_in(method: str) -> None:
    answer = getattr(Client(), method)("/", TICKET)
    assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, "/login")
    assert Client().post(f"/cancel/{uuid4()}").headers["Location"] == "/login?next=/"
    assert Order.objects.count() == 0


def test_in_a_trial_it_is_the_page_of_the_demo_account(demo: Any) -> None:
    answer = Client().post("/", TICKET)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert terms(Order.objects.get()) == ("demo", "t1", "market", "buy", "AAPL_2025_03", 100, None)
    assert b"demo" in Client().get("/").content


def test_a_signed_in_account_replaces_the_demo_account(client: Client, demo: Any) -> None:
    client.post("/", TICKET)
    assert Order.objects.get().account.username == "anna"


def test_a_visitor_without_an_account_gets_no_session(demo: Any) -> None:
    """The page's messages are kept elsewhere: with a session of no account the page would never be live."""
    client = Client()
    answer = client.post("/", TICKET)
    assert "sessionid" not in answer.cookies
    assert b"The order was accepted." in client.get("/").content
    assert "sessionid" not in client.cookies


def test_an_ended_session_is_removed(demo: Any) -> None:
    """The notification service refuses such a session, so the page would never be live."""
    client = Client()
    client.cookies["sessionid"] = "a" * 32
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.cookies["sessionid"].value == ""


def test_a_limit_order_is_placed_with_its_price(client: Client) -> None:
    client.post("/", TICKET | {"type": "limit", "side": "sell", "limit_price": "250.50"})
    assert terms(Order.objects.get()) == ("anna", "t1", "limit", "sell", "AAPL_2025_03", 100, "250.50")


def test_the_letters_of_an_instrument_are_stored_in_upper_case(client: Client) -> None:
    client.post("/", TICKET | {"instrument": "aapl_2025_03"})
    assert terms(Order.objects.get()) == ("anna", "t1", "market", "buy", "AAPL_2025_03", 100, None)


def test_a_price_that_a_market_order_does_not_show_is_not_sent(client: Client) -> None:
    client.post("/", TICKET | {"limit_price": "250.50"})
    assert terms(Order.objects.get()) == ("anna", "t1", "market", "buy", "AAPL_2025_03", 100, None)


def test_a_form_that_is_sent_twice_is_placed_once(client: Client) -> None:
    for _ in range(2):
        assert client.post("/", TICKET).status_code == 302
    assert Order.objects.count() == 1


def test_a_placed_form_that_was_changed_is_another_order(client: Client) -> None:
    client.post("/", TICKET)
    answer = client.post("/", TICKET | {"quantity": "7"})
    assert answer.status_code == 400
    assert b"This ticket has already been placed." in answer.content
    new = answer.context["ticket"]
    assert new["client_order_id"] != "t1"
    assert client.post("/", new).status_code == 302
    assert sorted(Order.objects.values_list("quantity", flat=True)) == [7, 100]


@pytest.mark.parametrize(
    ("change", "field", "error"),
    [
        ({"quantity": ""}, "quantity", "This field is required."),
        ({"quantity": "1.5"}, "quantity", "This must be a whole number."),
        ({"quantity": "0"}, "quantity", "greater than or equal to 1"),
        ({"quantity": "9" * 30}, "quantity", "less than or equal to"),
        ({"instrument": "NVDA_25"}, "instrument", "Exactly 12 characters"),
        ({"type": "limit"}, "limit_price", "A limit order needs a limit price."),
        ({"type": "limit", "limit_price": "many"}, "limit_price", "A valid number is required."),
    ],
)
def test_an_error_is_shown_at_its_field(client: Client, change: dict[str, str], field: str, error: str) -> None:
    answer = client.post("/", TICKET | change)
    assert answer.status_code == 400
    text = answer.content.decode()
    place = text.split(f'id="{field}-error">')[1].split("</p>")[0]
    assert error in place
    assert 'aria-invalid="true"' in text.split(f'id="{field}" ')[1].split(">")[0]
    assert text.count('aria-invalid="true"') == 1
    assert Order.objects.count() == 0


@pytest.mark.parametrize("change", [{"side": "hold"}, {"type": ""}, {"client_order_id": "\0"}])
def test_a_form_that_no_browser_sends_is_refused(client: Client, change: dict[str, str]) -> None:
    answer = client.post("/", TICKET | change)
    assert answer.status_code == 400
    assert answer.context["problem"]
    assert Order.objects.count() == 0


def test_a_form_of_another_site_is_refused(client: Client, account: Any) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(account)
    assert strict.post("/", TICKET).status_code == 403
    assert Order.objects.count() == 0


def test_an_order_is_canceled(client: Client, accept: Callable[..., Order]) -> None:
    order = accept()
    page = client.post(f"/cancel/{order.id}", follow=True).content.decode()
    order.refresh_from_db()
    assert order.status == "canceled"
    assert order.events.get(type="cancel_requested").data["by"] == "anna"
    assert "canceled" in page
    assert "nothing to cancel" in client.post(f"/cancel/{order.id}", follow=True).content.decode()


def test_somebody_elses_order_is_neither_shown_nor_canceled(accept: Callable[..., Order], admin_client: Client) -> None:
    order = accept()
    assert str(order.id) not in admin_client.get("/").content.decode()
    assert admin_client.post(f"/cancel/{order.id}").status_code == 404
    order.refresh_from_db()
    assert order.status == "pending"


def test_a_row_says_what_became_of_the_order(client: Client, accept: Callable[..., Order]) -> None:
    order = accept()
    save_changes([order], lifecycle.refused(order, "<b>unknown</b>", timezone.now()))
    [row] = client.get("/").context["rows"]
    assert (row.terms, row.state, row.tone, row.can_cancel) == ("Buy 100 AAPL_2025_03", "failed", "trouble", True)
    assert "&lt;b&gt;unknown&lt;/b&gt;" in client.get("/").content.decode()


def test_older_orders_come_in_pages(client: Client, accept: Callable[..., Order]) -> None:
    orders = [accept() for _ in range(51)][::-1]
    first = client.get("/")
    assert [row.order.id for row in first.context["rows"]] == [order.id for order in orders[:50]]
    second = client.get(f"/?before={first.context['last_id']}")
    assert [row.order.id for row in second.context["rows"]] == [orders[50].id]
    assert second.context["last_id"] is None
    assert client.get("/?before=what").status_code == 404


def test_examples_are_offered_only_where_the_exchange_is_simulated(client: Client, settings: Any) -> None:
    settings.EXCHANGE_IS_SIMULATED = True
    assert b"NEVERFILL___" in client.get("/").content
    settings.EXCHANGE_IS_SIMULATED = False
    assert b"NEVERFILL___" not in client.get("/").content


def test_every_example_is_accepted(client: Client, settings: Any) -> None:
    settings.EXCHANGE_IS_SIMULATED = True
    examples = client.get("/").context["examples"]
    for example, client_order_id in examples:
        names = ("type", "side", "instrument", "quantity", "limit_price")
        form = {name: getattr(example, name) for name in names} | {"client_order_id": client_order_id}
        assert client.post("/", form).status_code == 302
    assert Order.objects.count() == len(examples) == 7


def test_the_simulated_exchange_is_closed_and_opened(client: Client, settings: Any, simulator: SimulatorProcess) -> None:
    settings.EXCHANGE_IS_SIMULATED = True
    settings.EXCHANGE_URL = simulator.url
    assert b"The exchange is closed." in client.post("/exchange/close", follow=True).content
    with pytest.raises(HTTPError, match="503"):
        urlopen(f"{simulator.url}/orders/1")
    assert b"The exchange is open." in client.post("/exchange/open", follow=True).content
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"{simulator.url}/orders/1")
    simulator.stop()
    assert b"The exchange does not answer" in client.post("/exchange/close", follow=True).content


@pytest.mark.parametrize("wish", ["close", "open"])
def test_a_real_exchange_has_no_switch(client: Client, settings: Any, wish: str) -> None:
    settings.EXCHANGE_IS_SIMULATED = False
    assert client.post(f"/exchange/{wish}").status_code == 404


@pytest.mark.parametrize("wish", ["close", "open"])
def test_a_visitor_without_an_account_cannot_switch_the_exchange(settings: Any, db: None, wish: str) -> None:
    settings.EXCHANGE_IS_SIMULATED = True
    assert Client().post(f"/exchange/{wish}").headers["Location"] == "/login?next=/"
    assert Client().get(f"/exchange/{wish}").status_code == 405


@pytest.mark.django_db
def test_a_limit_refusal_is_shown_at_its_field_and_stored(client: Client, account: Any) -> None:
    AccountLimits.objects.create(account=account, max_quantity=99)
    answer = client.post("/", TICKET)
    assert answer.status_code == 400
    assert answer.context["errors"] == {"quantity": ["At most 99 in one order."]}
    assert Order.objects.get().error_code == "refused_by_limits"
    assert answer.context["ticket"]["client_order_id"] != TICKET["client_order_id"], "it can be corrected and sent again"


@pytest.mark.django_db
def test_orders_above_the_rate_limit_are_not_stored(client: Client, account: Any) -> None:
    AccountLimits.objects.create(account=account, orders_per_second=1)
    client.post("/", TICKET)
    answer = client.post("/", TICKET | {"client_order_id": "t2"})
    assert "at most 1 per second" in answer.context["problem"]
    assert Order.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("scope", "shown"),
    [
        ({}, {"detail": ["Trading is halted: no new orders are accepted."]}),
        ({"instrument": "AAPL_2025_03"}, {"instrument": ["Trading in this instrument is halted."]}),
    ],
)
def test_a_halt_is_shown(client: Client, scope: dict[str, str], shown: dict[str, list[str]]) -> None:
    halt_trading("otto", "odd prices", **scope)  # type: ignore[arg-type]
    answer = client.post("/", TICKET)
    assert answer.context["errors"] == shown
    assert Order.objects.count() == 0


def test_what_the_page_sends_counts_with_the_requests_of_the_account(
    client: Client, account: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, accept: Callable[..., Order]
) -> None:
    order = accept()
    settings.ACCOUNT_REQUESTS_PER_SECOND = 1
    monkeypatch.setattr(throttling.counter, "counts", {})
    monkeypatch.setattr(throttling, "time", lambda: 1_000_000_000.0)
    token = client_for(account)
    assert [token.get("/orders").status_code for _ in range(9)] == [200] * 9
    answers = [client.post("/", TICKET), client.post("/", TICKET), client.post(f"/cancel/{order.id}")]
    assert [answer.status_code for answer in answers] == [302, 429, 429]
    assert Order.objects.count() == 2
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("is_page_first", [True, False])
def test_an_order_of_the_page_is_known_to_the_api_and_the_other_way_round(
    client: Client, account: Any, is_page_first: bool
) -> None:
    api = client_for(account)
    if is_page_first:
        assert client.post("/", TICKET).status_code == 302
        answer = post(api, MARKET | {"client_order_id": "t1"})
        assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (200, "true")
    else:
        assert post(api, MARKET | {"client_order_id": "t1"}).status_code == 202
        assert client.post("/", TICKET).status_code == 302
    assert stored() == {"orders": 1, "events": 1, "wake_ups": 1}
    assert client.post("/", TICKET | {"quantity": "7"}).status_code == 400
    assert post(api, MARKET | {"client_order_id": "t1", "quantity": 7}).status_code == 409
    assert stored()["orders"] == 1


@pytest.mark.parametrize("limits", [{"max_quantity": 99}, {"open_orders": 1}], ids=str)
def test_the_page_and_the_api_are_under_the_same_limits(
    client: Client, account: Any, accept: Callable[..., Order], limits: dict[str, int]
) -> None:
    accept()
    AccountLimits.objects.create(account=account, **limits)
    page, answer = client.post("/", TICKET), post(client_for(account), MARKET)
    assert (page.status_code, answer.status_code) == (400, 422)
    assert page.context["errors"] == views.by_field(answer.json())
    assert [order.error_code for order in Order.objects.order_by("id")[1:]] == ["refused_by_limits"] * 2


def test_the_page_and_the_api_count_for_the_same_rate_of_orders(client: Client, account: Any) -> None:
    AccountLimits.objects.create(account=account, orders_per_second=2)
    api, another = client_for(account), TICKET | {"client_order_id": "t2"}
    answers = [client.post("/", TICKET), post(api, MARKET), client.post("/", another), post(api, MARKET)]
    assert [answer.status_code for answer in answers] == [302, 202, 400, 429]
    assert stored()["orders"] == 2
