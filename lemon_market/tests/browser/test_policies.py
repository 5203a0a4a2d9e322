"""Pages under their Content-Security-Policy: they work, and what is not ours does not. The browser reports each violation."""

import pytest
from playwright.sync_api import Page, expect

from devstack import local_install
from lemon_market.tests.browser.people import OPERATOR
from lemon_market.tests.browser.site import Site, is_live

pytestmark = pytest.mark.browser

BY_ADMINISTRATORS = [
    "/admin/auth/user/",
    "/admin/auth/user/add/",
    "/admin/auth/group/add/",
    "/admin/knox/authtoken/",
    "/admin/orders/accountlimits/add/",
    "/admin/orders/halt/halt/",
    "/admin/password_change/",
]


def test_the_description_of_the_api_is_shown(site: Site) -> None:
    page = site.visit("/docs")
    expect(page.locator(".opblock")).to_have_count(5)
    page.locator(".opblock", has_text="/orders/batch").click()
    expect(page.locator(".opblock.is-open").get_by_text("Responses").first).to_be_visible()


def test_pages_for_administrators_work(site: Site) -> None:
    page = site.visit("/admin/")
    page.locator("[name=username]").fill("admin")
    page.locator("[name=password]").fill(local_install.load(site.installation.data_dir).admin_password)
    page.locator("form button[type=submit]").click()
    page.wait_for_url("**/admin/")
    for path in BY_ADMINISTRATORS:
        page.goto(path)
        expect(page.locator("h1, h2").first).to_be_attached()
    page.goto("/admin/orders/order/")
    # The theme's menus are Alpine's.
    expect(page.locator("[x-data]").first).to_be_attached()


def run_inline_script(page: Page) -> bool:
    """Whether a script that somebody put into the page runs."""
    page.evaluate("""() => { const script = document.createElement("script"); script.textContent = "window.harmed = true";
        document.body.append(script); }""")
    page.evaluate("""() => { const image = document.createElement("img"); image.setAttribute("onerror", "window.harmed = true");
        image.src = "/nothing"; document.body.append(image); return new Promise((resolve) => setTimeout(resolve, 500)); }""")
    return bool(page.evaluate("() => window.harmed"))


@pytest.mark.parametrize(("path", "person"), [("/", None), ("/login", None), ("/docs", None), ("/admin/blotter/", OPERATOR)])
def test_a_script_that_is_not_ours_does_not_run(site: Site, path: str, person: str | None) -> None:
    site.expect_complaint("Content Security Policy")
    site.expect_complaint("404")
    assert not run_inline_script(site.visit(path, person))


def test_a_wrong_password_is_told_on_the_page(site: Site) -> None:
    page = site.visit("/login")
    page.get_by_label("Account").fill("stranger")  # Whose failures nobody else adds to.
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    site.expect_complaint("429")
    for _ in range(9):
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Signing in this way is blocked")
    # Somebody else can.
    is_live(site.visit("/", OPERATOR))
