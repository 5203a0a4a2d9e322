"""The sidebar of the back office."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

# Title, icon (Material Symbols), page, and the permission that is needed to see it.
PAGES: dict[str, list[tuple[str, str, str, str | None]]] = {
    "Order desk": [
        ("Overview", "monitoring", "admin:index", None),
        ("Blotter", "live_tv", "blotter", "orders.view_order"),
        ("Orders", "receipt_long", "admin:orders_order_changelist", "orders.view_order"),
        ("Dead letters", "move_to_inbox", "admin:orders_deadletter_changelist", "orders.view_deadletter"),
        ("Feed position", "sync_alt", "admin:orders_feedposition_changelist", "orders.view_feedposition"),
        ("Feed connection", "cable", "admin:orders_feedconnection_changelist", "orders.view_feedconnection"),
    ],
    "Safety": [
        ("Halts", "front_hand", "admin:orders_halt_changelist", "orders.view_halt"),
        ("Account limits", "speed", "admin:orders_accountlimits_changelist", "orders.view_accountlimits"),
        ("Safety events", "policy", "admin:orders_safetyevent_changelist", "orders.view_safetyevent"),
    ],
    "Administration": [
        ("Accounts", "person", "admin:auth_user_changelist", "auth.view_user"),
        ("Roles", "groups", "admin:auth_group_changelist", "auth.view_group"),
        ("Tokens", "key", "admin:knox_authtoken_changelist", "knox.view_authtoken"),
    ],
}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The pages that this person may open, for django-unfold's setting SIDEBAR."""
    allowed = {
        heading: [
            {"title": title, "icon": icon, "link": reverse(page)}
            for title, icon, page, permission in pages
            if permission is None or request.user.has_perm(permission)
        ]
        for heading, pages in PAGES.items()
    }
    return [{"title": heading, "items": items} for heading, items in allowed.items() if items]
