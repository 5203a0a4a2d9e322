"""The order desk at work: what failed is retried by those who may, and by nobody else."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from lemon_market.tests.browser.people import OPERATOR, VIEWER
from lemon_market.tests.browser.running import running
from lemon_market.tests.browser.site import Site, is_live, newest, place, state
from testsupport.installation import Installation
from testsupport.simulator_process import SimulatorProcess

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def outage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SimulatorProcess, Installation]]:
    """An exchange that nobody starts again when it is stopped, and an installation that soon gives up on it."""
    directory = tmp_path_factory.mktemp("desk")
    installation = Installation(directory)
    with SimulatorProcess(directory / "exchange") as simulator:
        installation.environment |= {"EXCHANGE_URL": simulator.url, "PLACEMENT_GIVE_UP_AFTER": "3"}
        with running(installation):
            yield simulator, installation


def test_an_outage_is_seen_and_what_failed_is_retried(browser: Browser, outage: tuple[SimulatorProcess, Installation]) -> None:
    simulator, installation = outage
    site = Site(browser, installation)
    trading, desk = site.visit("/", OPERATOR), site.visit("/admin/", OPERATOR)
    is_live(trading)
    verdict = desk.locator(".desk-verdict h2")
    expect(verdict).to_contain_text("The exchange is connected")
    simulator.stop()
    expect(verdict).to_contain_text("The exchange cannot be reached")
    row = place(trading, instrument="AAPL_2025_03", quantity="100")
    expect(state(row)).to_have_text("failed")
    failed = desk.locator(".desk-tiles a", has_text="failed")
    expect(failed).to_have_text("1 failed")

    simulator.start()
    expect(verdict).to_contain_text("The exchange is connected")
    failed.click()
    desk.locator("input[name=_selected_action]").first.check()
    desk.locator("select[name=action]").first.select_option("retry_selected")
    desk.get_by_role("button", name="Run").click()
    expect(desk.get_by_text("sent again")).to_be_visible()
    desk.get_by_role("button", name="Retry 1 order").click()
    expect(desk.get_by_text("1 will be sent again")).to_be_visible()
    # On the account's own page, without a reload.
    expect(state(row)).to_have_text("filled")
    site.close()
    assert site.unexpected() == []


def test_a_newcomer_closes_and_opens_the_exchange(site: Site) -> None:
    desk, trading = site.visit("/admin/", OPERATOR), site.visit()
    verdict = desk.locator(".desk-verdict h2")
    expect(verdict).to_contain_text("The exchange is connected")
    trading.get_by_role("button", name="Close exchange").click()
    expect(trading.locator("#ticket-result")).to_contain_text("The exchange is closed.")
    expect(verdict).to_contain_text("The exchange cannot be reached")
    is_live(trading)
    row = place(trading, instrument="WAITINGORDER", quantity="5")
    expect(row.locator("[data-show=problem]")).to_contain_text("the exchange is closed")
    trading.get_by_role("button", name="Open exchange").click()
    expect(verdict).to_contain_text("The exchange is connected")
    expect(state(trading.locator("#orders tr", has_text="Buy 5 WAITINGORDER"))).to_have_text("filled")


def failed_order(site: Site, person: str) -> Page:
    """The page of an order that the exchange has refused, as this person sees it."""
    page = site.visit("/", person)
    place(page, instrument="REFUSE______", quantity="1")
    row = newest(page)
    expect(state(row)).to_have_text("failed")
    page.goto(f"/admin/orders/order/{row.get_attribute('data-id')}/change/")
    is_live(page)
    return page


def test_an_operator_retries_an_order_and_sees_what_becomes_of_it(site: Site) -> None:
    page = failed_order(site, OPERATOR)
    refusals = page.locator(".order-timeline tbody tr", has=page.locator(".badge-failed"))
    expect(refusals).to_have_count(1)
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".order-timeline tbody tr", has_text="retry_requested")).to_contain_text(OPERATOR)
    expect(refusals).to_have_count(2)


def test_an_operator_cancels_an_order(site: Site) -> None:
    page = failed_order(site, OPERATOR)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".order-head .badge-canceled")).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)


@pytest.mark.parametrize("action", ["retry", "cancel"])
def test_a_viewer_sees_but_is_refused(site: Site, action: str) -> None:
    page = failed_order(site, VIEWER)
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert post_directly(page, action) == 403
    history = page.request.get(f"/orders/{page.url.split('/')[-3]}").json()["history"]
    assert [event["type"] for event in history] == ["accepted", "failed"]
    # It is for the role, and not for the way in which it is asked.
    assert post_directly(failed_order(site, OPERATOR), action) == 200


def post_directly(page: Page, action: str) -> int:
    """The status of what a button would do that this page of an order may not have."""
    [token] = [cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "csrftoken"]
    return page.request.post(page.url.replace("change/", f"{action}/"), headers={"X-CSRFToken": token}).status
