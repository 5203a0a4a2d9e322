"""The README's pictures, of a system of its own in which a morning's orders come and go: `make screenshots`."""

import random
import re
import tempfile
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect

from lemon_market.tests.browser import chromium
from lemon_market.tests.browser.people import OPERATOR
from lemon_market.tests.browser.running import running
from lemon_market.tests.browser.site import Site, is_live, place, state
from testsupport.installation import CHECKOUT, Installation

IMAGES = CHECKOUT / "docs" / "images"
VIEW: ViewportSize = {"width": 1280, "height": 900}
INSTRUMENTS = ["AAPL_2025_03", "TSLA_2025_06", "GOOG_2025_09", "MSFT_2025_12", "NVDA_2025_12", "US0378331005"]


def main() -> None:
    program = chromium.find()
    assert program, "there is no Chromium"
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, chromium.launched(program) as browser:
        installation = Installation(Path(directory))
        with running(installation):
            site = Site(browser, installation)
            take_all(site)
            site.close()


def take_all(site: Site) -> None:
    desk = site.visit("/admin/", OPERATOR, viewport=VIEW)
    blotter = site.visit("/admin/blotter/", OPERATOR, viewport=VIEW)
    trading = site.visit("/", viewport=VIEW)
    is_live(trading)
    for instrument in ("NEVERFILL___", "REFUSE______", "PARTIAL_____", "AAPL_2025_03", "TSLA_2025_06", "AAPL_2025_03"):
        trading.get_by_role("button", name=instrument, exact=True).click()
        expect(trading.locator("#ticket-result")).to_contain_text(instrument)
    expect(trading.locator("#orders tr").nth(2).locator(".state")).to_have_text("filled")
    place(trading, side="Buy", instrument="AAPL_2025_03", quantity="250")
    take(trading, "trading")

    refused = place(trading, instrument="REFUSE______", quantity="40")
    expect(state(refused)).to_have_text("failed")
    order_id = refused.get_attribute("data-id")
    trade(trading)
    is_live(blotter)
    expect(blotter.locator("#blotter tbody tr").nth(30)).to_be_attached()
    expect(blotter.locator("#blotter .badge-filled").nth(12)).to_be_visible()
    take(blotter, "blotter")
    expect(desk.locator(".desk-tiles a", has_text="placed in the last minute")).to_contain_text(re.compile("[34][0-9] placed"))
    take(desk, "desk")

    desk.goto(f"/admin/orders/order/{order_id}/change/")
    is_live(desk)
    desk.get_by_role("button", name="Retry").click()
    expect(desk.locator(".order-timeline .badge-failed")).to_have_count(2)
    take(desk, "order")


def trade(page: Page) -> None:
    """The same each time, as far as the exchange allows it."""
    dice = random.Random(7)  # noqa: S311 - nothing secret about it
    for instrument in INSTRUMENTS * 6:
        price = f"{dice.randint(18, 24)}.{dice.randint(10, 99)}"
        limit = {"type": "limit", "limit_price": price} if dice.random() < 0.5 else {"type": "market"}
        order = {"side": dice.choice(["buy", "sell"]), "instrument": instrument, "quantity": dice.randint(1, 40) * 10}
        answer = page.request.post("/orders", data=order | limit)
        assert answer.status == 202, answer.text()


def take(page: Page, name: str) -> None:
    path = IMAGES / f"{name}.png"
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=path, animations="disabled")


if __name__ == "__main__":
    main()
