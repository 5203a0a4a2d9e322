import pytest
from django.test import RequestFactory, override_settings

from orders.events.address import live_events_url


@pytest.mark.parametrize(
    ("host", "secure", "expected"),
    [
        ("localhost:8000", False, "ws://localhost:8444/ws/orders"),
        ("localhost", True, "wss://localhost:8444/ws/orders"),
        ("[::1]:8000", False, "ws://[::1]:8444/ws/orders"),
    ],
)
@override_settings(NOTIFICATIONS_PORT=8444, NOTIFICATIONS_URL="", ALLOWED_HOSTS=["localhost", "[::1]"])
def test_live_events_come_from_the_host_of_the_page(host: str, secure: bool, expected: str) -> None:
    assert live_events_url(RequestFactory().get("/admin/", headers={"Host": host}, secure=secure)) == expected


@override_settings(NOTIFICATIONS_URL="wss://live.example/ws/orders")
def test_live_events_come_from_where_the_setting_says() -> None:
    assert live_events_url(RequestFactory().get("/admin/")) == "wss://live.example/ws/orders"
