"""Visitors of the running system's pages, and what their browsers complain of."""

import re
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from lemon_market.tests.browser.people import PASSWORD
from testsupport.installation import Installation


class Site:
    """Opens pages for people, each in a browser session of their own, and collects complaints of all of them."""

    def __init__(self, browser: Browser, installation: Installation) -> None:
        self.installation = installation
        self.address = f"http://127.0.0.1:{installation.port}"
        self.complaints: list[str] = []
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._expected: list[str] = []
        self._hosts = {f"127.0.0.1:{port}" for port in (installation.port, installation.environment["NOTIFICATIONS_PORT"])}

    def visit(self, path: str = "/", person: str | None = None, **options: Any) -> Page:
        """The page, seen by somebody who has signed in, or by nobody in particular, as the demo account."""
        context = self._browser.new_context(base_url=self.address, **options)
        self._contexts.append(context)
        context.on("page", self._watch)
        page = context.new_page()
        if person is not None:
            sign_in(page, person)
        page.goto(path)
        return page

    def expect_complaint(self, pattern: str) -> None:
        """What a test provokes on purpose, such as an answer 400, the browser's console reports all the same."""
        self._expected.append(pattern)

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def unexpected(self) -> list[str]:
        return [text for text in self.complaints if not any(re.search(pattern, text) for pattern in self._expected)]

    def _watch(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._check_host(request.url))
        page.on("websocket", lambda socket: self._check_host(socket.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location['url']}")

    def _check_host(self, url: str) -> None:
        address = urlsplit(url)
        if address.scheme not in {"data", "blob"} and address.netloc not in self._hosts:
            self.complaints.append(f"a request to another origin: {url}")


def sign_in(page: Page, person: str) -> None:
    page.goto("/login")
    page.get_by_label("Account").fill(person)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")


def is_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("Live")


def fill_ticket(page: Page, **terms: str) -> None:
    """Fill in the ticket by its labels, as `quantity="100"`; `side` and `type` name a choice."""
    for name, value in terms.items():
        if name in {"side", "type"}:
            page.get_by_role("radio", name=value, exact=True).check()
        else:
            page.get_by_label(name.replace("_", " ").capitalize(), exact=True).fill(value)


def place(page: Page, **terms: str) -> Locator:
    """Fill in the ticket, place the order, and return its row."""
    fill_ticket(page, **terms)
    page.get_by_role("button", name="Place order").click()
    expect(page.locator("#ticket-result")).to_contain_text("Accepted:")
    return newest(page)


def newest(page: Page) -> Locator:
    """The row of the order that is newest now, whatever comes on top of it later."""
    id = page.locator("#orders tr").first.get_attribute("data-id")
    return page.locator(f'#orders tr[data-id="{id}"]')


def state(row: Locator) -> Locator:
    return row.locator(".state")
