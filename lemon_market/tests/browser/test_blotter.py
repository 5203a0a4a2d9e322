"""The blotter: all orders as they move."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from lemon_market.tests.browser.people import TRADER, VIEWER
from lemon_market.tests.browser.site import Site, is_live, place

pytestmark = pytest.mark.browser


def rows(page: Page, text: str = "") -> Locator:
    return page.locator("#blotter tbody tr", has_text=text)


def test_orders_of_all_accounts_move_on_it(site: Site) -> None:
    blotter = site.visit("/admin/blotter/", VIEWER)
    is_live(blotter)
    for person, quantity in ((None, "11"), (TRADER, "12")):
        trading = site.visit("/", person)
        is_live(trading)
        place(trading, instrument="BLOTTERTEST_", quantity=quantity)
    mine, theirs = rows(blotter, "buy 11 BLOTTERTEST_"), rows(blotter, "buy 12 BLOTTERTEST_")
    expect(mine.locator("[data-show=account]")).to_have_text("demo")
    expect(theirs.locator("[data-show=account]")).to_have_text(TRADER)
    for row in (mine, theirs):
        expect(row.locator("[data-show=state]")).to_have_text("filled")
        expect(row.locator(".badge-filled")).to_be_visible()
    mine.get_by_role("link").click()
    expect(blotter).to_have_url(re.compile(r"/admin/orders/order/[0-9a-f-]{36}/change/$"))


def test_it_begins_with_what_happened_before(site: Site) -> None:
    trading = site.visit()
    is_live(trading)
    place(trading, instrument="BEFOREBLOTT_", quantity="1")
    blotter = site.visit("/admin/blotter/", VIEWER)
    expect(rows(blotter, "BEFOREBLOTT_")).to_have_count(1)


def test_filters_combine(site: Site) -> None:
    trading = site.visit()
    for side, instrument in (("Buy", "FILTERBYALL_"), ("Sell", "FILTERBYALL_"), ("Buy", "FILTEROTHER_")):
        place(trading, side=side, instrument=instrument, quantity="9")
    blotter = site.visit("/admin/blotter/", VIEWER)
    is_live(blotter)
    blotter.get_by_label("Instrument").fill("filterby")
    expect(rows(blotter)).to_have_count(2)
    blotter.get_by_label("Side", exact=True).select_option("sell")
    expect(rows(blotter)).to_have_count(1)
    blotter.get_by_label("State").select_option("failed")
    expect(rows(blotter)).to_have_count(0)
    place(trading, side="Sell", instrument="FILTEROTHER_", quantity="8")
    place(trading, side="Sell", instrument="FILTERBYALL_", quantity="8")
    blotter.get_by_label("State").select_option("")
    expect(rows(blotter)).to_have_count(2)
    blotter.get_by_role("button", name="Clear").click()
    blotter.get_by_label("Text").fill("9 filterother")
    expect(rows(blotter)).to_have_count(1)
    blotter.get_by_label("Account").fill("nobody")
    expect(rows(blotter)).to_have_count(0)


def test_a_pause_keeps_the_table_and_counts_what_happens(site: Site) -> None:
    blotter = site.visit("/admin/blotter/", VIEWER)
    is_live(blotter)
    pause = blotter.get_by_role("button", name="Pause")
    pause.click()
    expect(pause).to_have_attribute("aria-pressed", "true")
    trading = site.visit()
    place(trading, instrument="WHILEPAUSED_", quantity="1")
    expect(blotter.locator("#waiting")).to_have_text(re.compile("Paused; [1-9][0-9]* events are waiting"))
    expect(rows(blotter, "WHILEPAUSED_")).to_have_count(0)
    pause.click()
    expect(rows(blotter, "WHILEPAUSED_")).to_have_count(1)
    expect(blotter.locator("#waiting")).to_be_empty()


def test_a_burst_leaves_it_small_and_quick(site: Site) -> None:
    blotter = site.visit("/admin/blotter/", VIEWER)
    is_live(blotter)
    orders = [{"type": "market", "side": "buy", "instrument": "BURSTBURST__", "quantity": 1}] * 1000
    client = site.visit("/login")
    for _ in range(2):
        assert client.request.post("/orders/batch", data=orders).status == 202
    expect(rows(blotter, "BURSTBURST__")).to_have_count(500)
    expect(blotter.locator("#shown")).to_have_text(re.compile("500 of the newest 2[0-9]{3} orders"))
    # It answers to a person while all of them are placed and filled.
    blotter.get_by_label("State").select_option("filled")
    expect(rows(blotter).first.locator("[data-show=state]")).to_have_text("filled")
    assert rows(blotter).count() <= 500


def test_only_staff_who_may_see_orders_get_it(site: Site) -> None:
    page = site.visit("/admin/blotter/", TRADER)
    expect(page).to_have_url(re.compile("/admin/login/"))
