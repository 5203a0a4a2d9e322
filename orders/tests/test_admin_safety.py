"""The pages for halts, limits and who switched them."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.test import Client

from orders.models import AccountLimits, Halt, Order, SafetyEvent
from orders.placement.attempts import claim_due_orders
from orders.risk.limits import change_limits
from orders.risk.switches import confirm_halts, halt_trading
from orders.roles import make_roles
from orders.tests.desk import LIST, page, refuse
from testsupport.api_calls import MARKET, client_for, post
from testsupport.placement import POLICY

Accept = Callable[..., Order]
HALTS = "/admin/orders/halt/"
LIMITS = "/admin/orders/accountlimits/"
EVENTS = "/admin/orders/safetyevent/"
NO_LIMITS = dict.fromkeys(["max_quantity", "max_notional", "price_collar_percent", "orders_per_second", "open_orders"], "")


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


@pytest.fixture
def in_role(django_user_model: Any) -> Callable[[str], Client]:
    """Logs in a new member of staff with one of the roles as the migration makes them."""
    # What migrations wrote is gone after any test that empties the database.
    make_roles(apps, None)

    def log_in(role: str) -> Client:
        person = django_user_model.objects.create_user(role.replace(" ", "-"), is_staff=True)
        person.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(person)
        return client

    return log_in


def halt_by_page(client: Client, **fields: str) -> Any:
    return client.post(f"{HALTS}halt/", {"scope": "all", "reason": "odd prices"} | fields, follow=True)


def switches(client: Client, halt: Halt) -> list[int]:
    """The answers to an attempt to halt, to resume and to change limits."""
    return [
        client.post(f"{HALTS}halt/", {"scope": "all", "reason": "x"}).status_code,
        client.post(f"{HALTS}{halt.pk}/resume/", {"reason": "x"}).status_code,
        client.post(f"{LIMITS}add/", {"reason": "x"}).status_code,
    ]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("desk viewer", [403, 403, 403]),
        ("desk operator", [302, 403, 403]),
        # The form for limits lacks an account, which is told and nothing else.
        ("administrator", [302, 302, 200]),
    ],
)
@pytest.mark.django_db
def test_an_operator_may_stop_trading_and_only_an_administrator_let_it_go_on(
    in_role: Any, role: str, expected: list[int]
) -> None:
    client = in_role(role)
    halt = halt_trading("emil", "odd prices", instrument="TSLA_2025_06")
    assert [client.get(path).status_code for path in (HALTS, LIMITS, EVENTS)] == [200, 200, 200]
    shown = text(client.get(HALTS))
    assert (f"{HALTS}halt/" in shown, f"{HALTS}{halt.pk}/resume/" in shown) == (expected[0] == 302, expected[1] == 302)
    assert switches(client, halt) == expected


@pytest.mark.django_db
def test_whoever_has_no_permission_sees_none_of_it(staff: Any) -> None:
    halt, client = halt_trading("emil", "odd prices"), staff("view_order")
    assert [client.get(path).status_code for path in (HALTS, LIMITS, EVENTS)] == [403, 403, 403]
    assert switches(client, halt) == [403, 403, 403]
    assert Client().post(f"{HALTS}halt/").headers["Location"].startswith("/admin/login/")


@pytest.mark.django_db
def test_a_halt_is_asked_for_on_a_page_that_says_what_it_does(staff: Any) -> None:
    client = staff("view_halt", "halt_trading")
    question = text(client.get(f"{HALTS}halt/"))
    assert "No new orders will be accepted and nothing will be sent." in question
    assert not Halt.objects.exists()
    assert "the halt is confirmed when those sends have ended." in question
    assert "All trading is halted: confirmed at 20" in text(halt_by_page(client))
    assert SafetyEvent.objects.values_list("type", "by", "reason").get() == ("halted", "dora", "odd prices")
    assert "All trading is already halted." in text(halt_by_page(client))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"reason": " "}, "This field is required."),
        ({"scope": ""}, "This field is required."),
        ({"scope": "account", "name": ""}, "There is no such account."),
        ({"scope": "account", "name": "nobody"}, "There is no such account."),
        ({"scope": "instrument", "name": "TSLA"}, "Exactly 12 characters"),
        ({"scope": "instrument", "name": "T\u017fLA_2025_06"}, "Exactly 12 characters"),
        ({"scope": "all", "name": "anna"}, "A halt of all trading takes no name"),
    ],
    ids=str,
)
def test_a_halt_of_nothing_that_exists_is_refused(staff: Any, account: Any, fields: dict[str, str], problem: str) -> None:
    assert problem in text(halt_by_page(staff("view_halt", "halt_trading"), **fields))
    assert not Halt.objects.exists()


def test_an_account_or_an_instrument_is_halted(staff: Any, account: Any) -> None:
    client = staff("view_halt", "halt_trading")
    assert "Trading of anna is halted: confirmed at 20" in text(halt_by_page(client, scope="account", name="anna"))
    assert "Trading in TSLA_2025_06 is halted: confirmed at 20" in text(
        halt_by_page(client, scope="instrument", name="tsla_2025_06")
    )
    assert list(Halt.objects.order_by("id").values_list("account", "instrument")) == [(account.pk, None), (None, "TSLA_2025_06")]


def test_resuming_says_how_many_orders_wait_and_asks_why(staff: Any, accept: Accept, account: Any) -> None:
    accept()
    accept()
    halt = halt_trading("emil", "odd prices", account=account)
    claim_due_orders(10, POLICY)
    client = staff("view_halt", "resume_trading")
    question = text(client.get(f"{HALTS}{halt.pk}/resume/"))
    assert "Held in its scope: 2." in question
    assert "halted by emil" in question
    assert "This field is required." in text(client.post(f"{HALTS}{halt.pk}/resume/", {"reason": ""}))
    halt.refresh_from_db()
    assert halt.ended_at is None
    assert "Trading of anna is resumed." in text(client.post(f"{HALTS}{halt.pk}/resume/", {"reason": "explained"}, follow=True))
    halt.refresh_from_db()
    assert (halt.ended_by, halt.end_reason) == ("dora", "explained")
    again = client.post(f"{HALTS}{halt.pk}/resume/", {"reason": "once more"})
    assert "Trading of anna is not halted." in text(again)
    assert client.get(f"{HALTS}999/resume/").status_code == 404


def test_a_halt_is_seen_on_the_landing_page_and_above_the_orders(viewer: Client, accept: Accept, account: Any) -> None:
    order = accept()
    places = ["/admin/", "/admin/orders/order/overview/", LIST]
    assert not [place for place in places if "is halted" in text(viewer.get(place))]
    halt_trading("emil", "<b>odd</b> prices")
    halt_trading("emil", "as asked", account=account)
    for place in places:
        shown = text(viewer.get(place))
        assert "All trading is halted" in shown
        assert "Trading of anna is halted" in shown
        assert "by emil since" in shown
        assert "&lt;b&gt;odd&lt;/b&gt; prices" in shown
    claim_due_orders(10, POLICY)
    assert "Held by a halt since" in text(viewer.get(page(order)))


def test_both_moments_are_shown_wherever_a_halt_is(staff: Any, accept: Accept) -> None:
    order = accept()
    claim_due_orders(10, POLICY)
    client = staff("view_halt", "halt_trading", "resume_trading", "view_order")
    assert "All trading is halted: stopping, 1 send under way." in text(halt_by_page(client))
    begun = Halt.objects.get()
    since = f"{begun.started_at:%Y-%m-%d %H:%M:%S}"
    places = ["/admin/", "/admin/orders/order/overview/", LIST, HALTS, f"{HALTS}{begun.pk}/resume/"]
    for place in places:
        shown = text(client.get(place))
        assert f"{since} UTC, stopping, 1 send under way" in shown
    assert "in force, stopping, 1 send under way" in text(client.get(HALTS))
    Order.objects.filter(id=order.id).update(may_be_at_exchange=False, sent_valid_until=None)
    confirm_halts()
    begun.refresh_from_db()
    confirmed = f"confirmed at {begun.confirmed_at:%Y-%m-%d %H:%M:%S} UTC"
    for place in places:
        assert f"{since} UTC, {confirmed}" in text(client.get(place))
    assert f"in force, {confirmed}" in text(client.get(HALTS))


@pytest.mark.parametrize("path", [HALTS, EVENTS])
@pytest.mark.django_db
def test_what_happened_cannot_be_edited(admin_client: Client, path: str) -> None:
    halt_trading("emil", "odd prices")
    number = (Halt if path == HALTS else SafetyEvent).objects.get().pk
    for odd in ("add/", f"{number}/delete/"):
        assert admin_client.post(f"{path}{odd}", {"post": "yes"}).status_code == 403
    assert admin_client.post(f"{path}{number}/change/", {"reason": "none"}).status_code == 403
    assert "odd prices" in text(admin_client.get(path))


def test_limits_are_set_and_changed_with_a_reason(staff: Any, account: Any) -> None:
    client = staff("view_accountlimits", "change_accountlimits", "view_safetyevent")
    form = NO_LIMITS | {"account": account.pk, "max_quantity": "99", "reason": "new client"}
    assert client.post(f"{LIMITS}add/", form).status_code == 302
    assert post(client_for(account), MARKET).status_code == 422
    change = f"{LIMITS}{account.pk}/change/"
    assert "This field is required." in text(client.post(change, NO_LIMITS | {"max_notional": "5.50"}))
    assert client.post(change, NO_LIMITS | {"max_notional": "5.50", "reason": "known by now"}).status_code == 302
    limits = AccountLimits.objects.get()
    assert (limits.max_quantity, limits.max_notional) == (None, Decimal("5.50"))
    shown = text(client.get(EVENTS))
    assert "max quantity: 99 → none, max notional: none → 5.50" in shown
    assert "known by now" in shown
    assert client.post(f"{LIMITS}{account.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("name", NO_LIMITS)
def test_a_limit_of_0_is_refused_on_the_page(staff: Any, account: Any, name: str) -> None:
    client = staff("view_accountlimits", "change_accountlimits")
    form = NO_LIMITS | {"account": account.pk, name: "0", "reason": "x"}
    assert "Ensure this value is greater than or equal to" in text(client.post(f"{LIMITS}add/", form))
    assert not AccountLimits.objects.exists()


def test_what_limits_refused_waits_for_nobody_and_is_retried_on_its_own_page_only(staff: Any, account: User) -> None:
    client = staff("view_order", "retry_order")
    change_limits(account, "emil", "new client", max_quantity=99)
    post(client_for(account), MARKET)
    order = Order.objects.get()
    assert str(order.id) not in text(client.get(f"{LIST}?attention=operator"))
    assert "Nothing needs an operator." in text(client.get("/admin/"))
    assert "<b>0</b> failed" in text(client.get("/admin/"))
    bulk = {"action": "retry_selected", "_selected_action": str(order.id)}
    assert "nothing: it was refused by limits: retry it alone" in text(client.post(LIST, bulk))
    assert "Retry: it will be" not in text(client.get(page(order))), "it is still against the limits"
    change_limits(account, "emil", "known by now", max_quantity=None)
    assert "passed over (was refused by limits: retry it alone)" in text(
        client.post(LIST, bulk | {"confirmed": "yes"}, follow=True)
    )
    assert "Retry: it will be sent again" in text(client.get(page(order)))
    assert "1 will be sent again" in text(client.post(f"{LIST}{order.id}/retry/", follow=True))


def test_nothing_is_retried_while_trading_is_halted(staff: Any, accept: Accept) -> None:
    client, order = staff("view_order", "retry_order"), refuse(accept())
    halt_trading("emil", "odd prices")
    assert "Retry: it will be" not in text(client.get(page(order)))
    assert "passed over (cannot be sent while trading is halted)" in text(client.post(f"{LIST}{order.id}/retry/", follow=True))
