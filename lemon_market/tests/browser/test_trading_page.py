"""Placing, watching and canceling orders on the trading page."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from lemon_market.tests.browser.people import HALTED, LARGEST, OPERATOR, PASSWORD, TRADER, VIEWER
from lemon_market.tests.browser.site import Site, fill_ticket, is_live, newest, place, state

pytestmark = pytest.mark.browser


def test_one_signs_in_sees_the_own_orders_and_signs_out(site: Site) -> None:
    page = site.visit("/login")
    page.get_by_label("Account").fill(TRADER)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Please enter a correct username and password")

    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".who")).to_have_text(TRADER)
    is_live(page)
    place(page, instrument="TARAS_ORDER_", quantity="1")
    expect(page.get_by_text("Buy 1 TARAS_ORDER_").first).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    expect(page.locator(".who")).to_contain_text("demo")
    is_live(page)
    expect(page.get_by_text("TARAS_ORDER_")).to_have_count(0)


def test_a_market_order_fills_while_one_watches(site: Site) -> None:
    page = site.visit()
    is_live(page)
    row = place(page, side="Buy", type="Market", instrument="AAPL_2025_03", quantity="100")
    expect(row.locator("[data-show=terms]")).to_have_text("Buy 100 AAPL_2025_03")
    expect(state(row)).to_have_text("filled")
    expect(row.locator("[data-show=filled]")).to_contain_text("100 of 100 at ")
    expect(row.get_by_role("button")).to_be_hidden()
    expect(page.locator("#news")).to_contain_text("filled")


def test_a_limit_order_has_a_price(site: Site) -> None:
    page = site.visit()
    is_live(page)
    expect(page.get_by_label("Limit price")).to_be_hidden()
    row = place(page, side="Sell", type="Limit", instrument="TSLA_2025_06", quantity="50", limit_price="250.50")
    expect(row.locator("[data-show=terms]")).to_have_text("Sell 50 TSLA_2025_06 at 250.50")
    expect(state(row)).to_have_text(re.compile("^(new|partially filled|filled)$"))


@pytest.mark.parametrize(
    ("instrument", "ends_as", "problem"),
    [
        ("AAPL_2025_03", "filled", ""),
        ("REFUSE______", "failed", "refused"),
        ("OFFLINE_____", "pending", "not available"),
        ("TIMEOUT_____", "filled", ""),
        ("PARTIAL_____", "partially filled", ""),
        ("NEVERFILL___", "new", ""),
    ],
)
def test_one_click_on_an_example_shows_what_can_become_of_an_order(
    site: Site, instrument: str, ends_as: str, problem: str
) -> None:
    page = site.visit()
    is_live(page)
    page.get_by_role("button", name=instrument, exact=True).click()
    expect(page.locator("#ticket-result")).to_contain_text(f"Accepted: Buy 100 {instrument}")
    row = newest(page)
    expect(state(row)).to_have_text(ends_as)
    expect(row.locator("[data-show=problem]")).to_contain_text(problem)


def test_each_click_on_an_example_is_another_order(site: Site) -> None:
    page = site.visit("/", TRADER)
    is_live(page)
    rows = page.locator("#orders tr")
    before = rows.count()
    for number in (1, 2):
        page.get_by_role("button", name="NEVERFILL___", exact=True).click()
        expect(rows).to_have_count(before + number)
    assert count(page, "NEVERFILL___") >= 2


def test_what_limits_and_halts_refuse_stands_beside_its_field(site: Site) -> None:
    site.expect_complaint("status of 422")
    page = site.visit("/", TRADER)
    is_live(page)
    fill_ticket(page, instrument="AAPL_2025_03", quantity=str(LARGEST + 1))
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_label("Quantity")).to_have_accessible_description(f"At most {LARGEST} in one order.")
    fill_ticket(page, instrument=HALTED, quantity="1")
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_label("Instrument")).to_have_accessible_description(re.compile("Trading in this instrument is halted"))
    expect(page.get_by_label("Quantity")).to_have_accessible_description("")


def test_an_order_is_canceled(site: Site) -> None:
    page = site.visit()
    is_live(page)
    row = place(page, instrument="NEVERFILL___", quantity="7")
    expect(state(row)).to_have_text("new")
    row.get_by_role("button", name="Cancel Buy 7 NEVERFILL___").click()
    expect(state(row)).to_have_text("canceled")
    expect(row.get_by_role("button")).to_be_hidden()
    expect(page.locator("#orders-title")).to_be_focused()


def test_what_is_wrong_is_said_beside_its_field(site: Site) -> None:
    site.expect_complaint("status of 400")
    page = site.visit()
    fill_ticket(page, type="Limit", instrument="NVDA_25", quantity="some", limit_price="0")
    page.get_by_role("button", name="Place order").click()
    instrument, quantity, price = (page.locator(f"#{name}") for name in ("instrument", "quantity", "limit_price"))
    expect(instrument).to_have_accessible_description(re.compile("Exactly 12 characters"))
    expect(quantity).to_have_accessible_description("This must be a whole number.")
    expect(price).to_have_accessible_description(re.compile("greater than or equal to 0.01"))
    for field in (instrument, quantity, price):
        expect(field).to_have_attribute("aria-invalid", "true")
    expect(instrument).to_be_focused()

    place(page, type="Limit", instrument="NVDA_2025_09", quantity="30", limit_price="0.01")
    expect(instrument).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#instrument-error")).to_be_hidden()


def test_a_double_click_places_one_order(site: Site) -> None:
    page = site.visit("/", OPERATOR)
    is_live(page)
    fill_ticket(page, instrument="DOUBLECLICK_", quantity="2")
    page.get_by_role("button", name="Place order").dblclick()
    expect(page.get_by_text("Buy 2 DOUBLECLICK_").first).to_be_visible()
    # Here the first click is answered before the second one comes.
    page.get_by_role("button", name="NEVERFILL___", exact=True).hover()
    for click in (1, 2):
        page.mouse.down(click_count=click)
        page.mouse.up(click_count=click)
        expect(page.locator("#ticket-result")).to_contain_text("Accepted: Buy 100 NEVERFILL___")
    assert [count(page, instrument) for instrument in ("DOUBLECLICK_", "NEVERFILL___")] == [1, 1]


@pytest.mark.parametrize("loss", ["LOSTREQUEST_", "LOSTANSWER__", "ANSWERED_503"])
def test_after_a_lost_answer_the_same_order_is_sent_again(site: Site, loss: str) -> None:
    site.expect_complaint("ERR_FAILED|status of 503")
    # Without live events, by which the page would notice by itself that the order is taken.
    page = site.visit("/login")
    page.route_web_socket(re.compile("/ws/orders"), lambda _: None)
    page.goto("/")

    def lose(route: Route) -> None:
        if loss == "ANSWERED_503":
            route.fulfill(status=503, json={"detail": "The database is not available."})
            return
        if loss == "LOSTANSWER__":
            route.fetch()
        route.abort()

    page.route("**/orders", lose)
    fill_ticket(page, instrument=loss, quantity="3")
    page.get_by_role("button", name="Place order").click()
    expect(page.locator("#ticket-problem")).to_contain_text("may or may not have been accepted")
    expect(page.get_by_label("Quantity")).to_be_disabled()
    again = page.get_by_role("button", name="Send again")
    expect(again).to_be_focused()
    again.press("Enter")
    expect(page.locator("#ticket-problem")).to_contain_text("may or may not have been accepted")

    page.unroute("**/orders")
    again.press("Enter")
    expect(page.locator("#ticket-result")).to_have_text(f"Accepted: Buy 3 {loss}.")
    expect(page.get_by_label("Instrument")).to_be_focused()
    assert count(page, loss) == 1


def test_live_events_tell_that_an_order_was_taken_whose_answer_is_lost(site: Site) -> None:
    site.expect_complaint("ERR_FAILED")
    page = site.visit()
    is_live(page)

    def lose_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/orders", lose_answer)
    fill_ticket(page, instrument="NOANSWERHERE", quantity="4")
    page.get_by_role("button", name="Place order").click()
    expect(page.locator("#ticket-result")).to_have_text("Accepted: Buy 4 NOANSWERHERE.")
    expect(page.get_by_role("button", name="Place order")).to_be_enabled()
    expect(page.get_by_text("Buy 4 NOANSWERHERE").first).to_be_visible()


def test_the_keyboard_is_enough(site: Site) -> None:
    page = site.visit()
    is_live(page)
    page.get_by_role("radio", name="Buy").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    for text in ("NEVERFILL___", "5", "10.25"):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    expect(page.locator("#ticket-result")).to_have_text("Accepted: Sell 5 NEVERFILL___ at 10.25.")
    row = newest(page)
    expect(state(row)).to_have_text("new")
    row.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(state(row)).to_have_text("canceled")


def test_server_and_script_write_the_same_rows(site: Site) -> None:
    page = site.visit("/", VIEWER)
    is_live(page)
    for instrument, ends_as in (("REFUSE______", "failed"), ("PARTIAL_____", "partially filled"), ("AAPL_2025_03", "filled")):
        expect(state(place(page, instrument=instrument, quantity="100"))).to_have_text(ends_as)
    row = place(page, type="Limit", side="Sell", instrument="NEVERFILL___", quantity="3", limit_price="7.50")
    row.get_by_role("button").click()
    expect(state(row)).to_have_text("canceled")
    plain = site.visit("/", VIEWER, java_script_enabled=False)
    assert words_and_colours(plain) == words_and_colours(page)


def words_and_colours(page: Page) -> tuple[list[str], list[str]]:
    colours = page.locator("#orders .state").evaluate_all("states => states.map((state) => state.dataset.tone)")
    return page.locator("#orders tr").all_inner_texts(), colours


def test_older_orders_come_on_demand(site: Site) -> None:
    page = site.visit()
    is_live(page)
    orders = [{"type": "market", "side": "buy", "instrument": "NEVERFILL___", "quantity": 1}] * 60
    assert page.request.post("/orders/batch", data=orders).status == 202
    page.reload()
    is_live(page)
    rows = page.locator("#orders tr")
    expect(rows).to_have_count(50)
    page.get_by_role("link", name="Older orders").click()
    expect(rows).not_to_have_count(50)
    ids = [row.get_attribute("data-id") or "" for row in rows.all()]
    assert len(set(ids)) == len(ids) > 60
    assert ids == sorted(ids, reverse=True)


def test_a_burst_leaves_the_page_small(site: Site) -> None:
    page = site.visit()
    is_live(page)
    orders = [{"type": "market", "side": "buy", "instrument": "BURSTBURST__", "quantity": 1}] * 1000
    assert page.request.post("/orders/batch", data=orders).status == 202
    row = place(page, instrument="AFTERTHEALL_", quantity="1")
    expect(state(row)).to_have_text("filled", timeout=60_000)
    assert page.locator("#orders tr").count() <= 500


def test_the_page_works_without_javascript(site: Site) -> None:
    page = site.visit(java_script_enabled=False)
    fill_ticket(page, instrument="PLAINHTML___", quantity="x")
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_label("Quantity")).to_have_accessible_description("This must be a whole number.")
    expect(page.get_by_label("Instrument")).to_have_value("PLAINHTML___")

    site.expect_complaint("status of 400")
    fill_ticket(page, quantity="6")
    page.get_by_role("button", name="Place order").click()
    expect(page.locator("#ticket-result")).to_contain_text("The order was accepted.")
    expect(newest(page)).to_contain_text("Buy 6 PLAINHTML___")

    page.get_by_role("button", name="NEVERFILL___", exact=True).click()
    row = newest(page)
    row.get_by_role("button", name="Cancel").click()
    expect(page.locator("#ticket-result")).to_contain_text("canceled")


def count(page: Page, instrument: str) -> int:
    """How many orders in this instrument the account has, as the API tells."""
    return len(page.request.get(f"/orders?instrument={instrument}").json()["results"])
