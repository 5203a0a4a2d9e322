"""The connection for live events breaks, and heals by itself."""

import re
from signal import SIGKILL

import psutil
import pytest
from playwright.sync_api import WebSocketRoute, expect

from lemon_market.tests.browser.people import TRADER, VIEWER
from lemon_market.tests.browser.site import Site, is_live, place, sign_in, state

pytestmark = pytest.mark.browser


def test_nothing_is_missed_while_the_connection_is_lost(site: Site) -> None:
    site.expect_complaint("WebSocket connection to .* failed")
    page, blotter = site.visit(), site.visit("/admin/blotter/", VIEWER)
    for watched in (page, blotter):
        is_live(watched)
    [service] = site.installation.pids("run_notification_service")
    psutil.Process(service).send_signal(SIGKILL)
    for watched in (page, blotter):
        expect(watched.locator("#connection")).to_contain_text("Connection lost")
    # From elsewhere, so that only events can tell the page.
    order = {"type": "market", "side": "sell", "instrument": "WHILELOST___", "quantity": 8}
    assert page.request.post("/orders", data=order).status == 202

    for watched in (page, blotter):
        is_live(watched)
    row = page.locator("#orders tr", has_text="Sell 8 WHILELOST___")
    expect(state(row)).to_have_text("filled")
    seen = blotter.locator("#blotter tbody tr", has_text="sell 8 WHILELOST___")
    expect(seen.locator("[data-show=state]")).to_have_text("filled")


def test_where_events_cannot_be_resumed_the_orders_are_read_again(site: Site) -> None:
    page = site.visit("/login")
    asked: list[str] = []

    def serve(socket: WebSocketRoute) -> None:
        """A service that cannot resume, and forgets everybody at once."""
        asked.append(socket.url)
        if "after=" in socket.url:
            socket.close(code=4409, reason="Too much has happened.")
        else:
            socket.send('{"type": "hello", "account": "demo", "sees_all": false, "after": "e1", "heartbeat_s": 15}')
            sockets.append(socket)

    sockets: list[WebSocketRoute] = []
    page.route_web_socket(re.compile("/ws/orders"), serve)
    page.goto("/")
    is_live(page)
    order = {"type": "market", "side": "buy", "instrument": "READAGAIN___", "quantity": 3}
    assert page.request.post("/orders", data=order).status == 202
    sockets[0].close(code=1013, reason="Come back in a moment.")
    # The order may have been there when the page first read; it is the second time that counts.
    while len(asked) < 3:
        page.wait_for_timeout(50)
    expect(page.locator("#orders tr", has_text="Buy 3 READAGAIN___")).to_be_visible()
    assert ["after=e1" in url for url in asked] == [False, True, False]


def test_orders_can_be_placed_while_nothing_is_live(site: Site) -> None:
    page = site.visit("/login")
    page.route_web_socket(re.compile("/ws/orders"), lambda socket: socket.close(code=1013, reason="Come back later."))
    page.goto("/")
    expect(page.locator("#connection")).to_contain_text("Connection lost")
    place(page, instrument="NOTLIVEATALL", quantity="2")
    expect(page.get_by_text("Buy 2 NOTLIVEATALL").first).to_be_visible()


def test_a_session_that_ends_is_said(site: Site) -> None:
    page = site.visit("/login")
    page.route_web_socket(re.compile("/ws/orders"), lambda socket: socket.close(code=4401, reason="The session has ended."))
    page.goto("/")
    expect(page.locator("#connection")).to_have_text("No longer live. Reload the page. The session has ended.")


def test_a_page_of_another_account_is_not_taken_for_the_own(site: Site) -> None:
    page = site.visit()
    is_live(page)
    other = page.context.new_page()
    sign_in(other, TRADER)
    [service] = site.installation.pids("run_notification_service")
    site.expect_complaint("WebSocket connection to .* failed")
    psutil.Process(service).send_signal(SIGKILL)
    expect(page.locator("#connection")).to_contain_text(f"You have since signed in as {TRADER}.")
    page.reload()
    is_live(page)
    expect(page.locator(".who")).to_have_text(TRADER)
