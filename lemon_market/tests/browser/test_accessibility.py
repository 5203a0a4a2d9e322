"""Every page by axe-core's rules, light, and dark on a phone: nothing serious may be wrong."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from lemon_market.tests.browser.people import OPERATOR
from lemon_market.tests.browser.site import Site, fill_ticket, is_live, newest, place, state

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}


def login(site: Site, **look: Any) -> Page:
    page = site.visit("/login", **look)
    page.get_by_label("Account").fill("nobody")
    page.get_by_label("Password").fill("nothing")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    return page


def trading(site: Site, **look: Any) -> Page:
    page = site.visit("/", **look)
    is_live(page)
    for instrument in ("REFUSE______", "PARTIAL_____", "NEVERFILL___"):
        row = place(page, instrument=instrument, quantity="100")
    row.get_by_role("button").click()
    expect(state(row)).to_have_text("canceled")
    site.expect_complaint("status of 400")
    fill_ticket(page, type="Limit", instrument="SHORT")
    page.get_by_role("button", name="Place order").click()
    expect(page.locator("#instrument-error")).to_be_visible()
    return page


def landing(site: Site, **look: Any) -> Page:
    page = site.visit("/admin/", OPERATOR, **look)
    expect(page.locator(".desk-verdict")).to_be_visible()
    return page


def order_list(site: Site, **look: Any) -> Page:
    return site.visit("/admin/orders/order/", OPERATOR, **look)


def order_page(site: Site, **look: Any) -> Page:
    page = site.visit("/", OPERATOR, **look)
    place(page, instrument="REFUSE______", quantity="100")
    expect(state(newest(page))).to_have_text("failed")
    page.goto(f"/admin/orders/order/{newest(page).get_attribute('data-id')}/change/")
    is_live(page)
    return page


def confirmation(site: Site, **look: Any) -> Page:
    page = order_list(site, **look)
    page.goto("/admin/orders/order/?status__exact=failed")
    page.locator("input[name=_selected_action]").first.check()
    page.locator("select[name=action]").first.select_option("retry_selected")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("What will happen")).to_be_visible()
    return page


def blotter(site: Site, **look: Any) -> Page:
    page = site.visit("/admin/blotter/", OPERATOR, **look)
    is_live(page)
    expect(page.locator("#blotter tbody tr").first).to_be_visible()
    return page


def admin_login(site: Site, **look: Any) -> Page:
    return site.visit("/admin/login/", **look)


LOOKS: dict[str, Any] = {"light": {"color_scheme": "light"}, "dark, on a phone": {"color_scheme": "dark", "viewport": PHONE}}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("open_page", [login, trading, admin_login, landing, order_list, order_page, confirmation, blotter])
def test_nothing_serious_keeps_anybody_out(site: Site, open_page: Callable[..., Page], look: str) -> None:
    page = open_page(site, **LOOKS[look])
    violations = [rule for rule in Axe().run(page).response["violations"] if rule["impact"] in {"serious", "critical"}]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]][:5]) for rule in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the window"
