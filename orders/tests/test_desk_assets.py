"""The back office takes nothing from another host, and all that it takes from here is there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from orders.models import DeadLetter, Order
from orders.tests.desk import LIST, page, refuse

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]

SCRIPTS = Path(__file__).parents[1] / "static" / "orders"
ASSET = re.compile(r"""<(?:script|link|img)\b[^>]*?(?:src|href)="([^"]+)\"""")
# The names of XML's own languages; nobody fetches them.
ELSEWHERE = re.compile(r"""(?:https?:)?//(?!www\.w3\.org/)[a-z0-9-]+\.[^\s"'<>)]+""", re.IGNORECASE)
IN_STYLE = re.compile(r"""url\(["']?([^"')]+)|@import\s+["']([^"']+)""")
# Where the library's own files name the places that they are documented at.
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def static_file(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    try:
        return b"".join(answer).decode(errors="replace")
    finally:
        answer.close()


def test_no_page_and_no_style_sheet_names_another_host(admin_client: Client, accept: Accept) -> None:
    order = refuse(accept())
    report = DeadLetter.objects.create(raw="{", reason="unreadable", session_id="s1", sequence=7)
    role = Group.objects.create(name="a role")
    paths = ["/admin/", LIST, page(order), f"{LIST}?status__exact=failed&q=x", f"{LIST}{order.id}/history/"]
    paths += ["/admin/orders/deadletter/", f"/admin/orders/deadletter/{report.pk}/change/", "/admin/orders/feedposition/"]
    paths += ["/admin/orders/feedconnection/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/group/"]
    paths += [f"/admin/auth/group/{role.pk}/change/", "/admin/knox/authtoken/", "/admin/password_change/"]
    pages = [admin_client.get(path).content.decode() for path in paths]
    pages.append(admin_client.post(LIST, {"action": "retry_selected", "_selected_action": str(order.id)}).content.decode())
    pages.append(Client().get("/admin/login/").content.decode())
    assert [found for html in pages for found in ELSEWHERE.findall(html)] == []
    assets = {asset for html in pages for asset in ASSET.findall(html)}
    assert {asset.rpartition(".")[2] for asset in assets} >= {"js", "css", "svg"}
    for asset in sorted(assets - {"/admin/jsi18n/"}):
        assert asset.startswith("/static/"), asset
        content = static_file(admin_client, asset)
        if asset.endswith(".css"):
            taken = [first or second for first, second in IN_STYLE.findall(COMMENT.sub("", content))]
            assert [address for address in taken if "//" in address and not address.startswith("data:")] == [], asset


def test_the_pages_scripts_import_only_each_other(client: Client) -> None:
    scripts = sorted(path.name for path in SCRIPTS.glob("*.js"))
    assert "blotter.js" in scripts
    for name in scripts:
        script = static_file(client, f"/static/orders/{name}")
        for imported in re.findall(r'^import .* from "([^"]+)"', script, re.MULTILINE):
            assert static_file(client, f"/static/orders/{imported.removeprefix('./')}")


def test_our_own_templates_have_neither_scripts_nor_styles_inside(admin_client: Client, accept: Accept) -> None:
    """So that a Content-Security-Policy has to allow nothing for them; what the theme needs is its own."""
    order = accept()
    for path in (f"{LIST}overview/", f"{LIST}{order.id}/state/"):
        html = admin_client.get(path).content.decode()
        assert "<script" not in html
        assert "style=" not in html
        assert " on" not in re.sub(r">[^<]*<", "><", html)
