"""Requests that nobody sends by mistake: what cannot be understood is refused, and is no error of ours."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from lemon_market.doctor.machine import check_machine
from lemon_market.logs import without_control_characters

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_probes_come_by_any_address_of_a_machine_and_nothing_else_does(path: str, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["trading.example"]
    client = Client(headers={"Host": "192.0.2.7:8000"})
    assert client.get(path).status_code == 200
    assert client.get("/orders").status_code == client.get("/").status_code == client.get("/docs").status_code == 400


@pytest.mark.parametrize("path", ["/login", "/admin/login/", "/orders", "/"])
@pytest.mark.parametrize("type", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/json"])
def test_a_body_that_is_too_long_is_refused_unread(path: str, type: str) -> None:
    class Unread(BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError

        readline = read

    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "x" * 32
    environment: Any = {"CONTENT_LENGTH": "1048577", "wsgi.input": Unread()}
    answer = client.generic("POST", path, content_type=type, **environment)
    assert answer.status_code == 413
    assert answer.json() == {"detail": "The request body is larger than 1048576 bytes."}


@pytest.mark.parametrize("key", ["\0aaaaaaaaaaaa", "a" * 12 + "\0", "short", "é" * 12, "../../../etc", ""])
@pytest.mark.parametrize("path", ["/", "/orders", "/admin/"])
def test_a_cookie_that_nobody_got_from_us_is_none(path: str, key: str) -> None:
    client = Client()
    client.cookies["sessionid"] = key
    assert client.get(path).status_code in {302, 401}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "query",
    [
        "orders/order/?status=%00",
        "orders/order/?error_message__regex=(",
        "orders/order/?created_at_to_0=9999-12-31&created_at_to_1=23:59:59.999999",
        "orders/safetyevent/?type=%00",
        "orders/setasidereport/?reason__regex=(((",
    ],
)
def test_a_list_of_the_back_office_is_shown_without_a_query_that_makes_no_sense(query: str, admin_client: Client) -> None:
    answer = admin_client.get(f"/admin/{query}", follow=True)
    assert answer.status_code == 200
    assert all(url.endswith("?e=1") for url, _ in answer.redirect_chain)


def test_a_terminal_is_not_told_what_to_do_by_a_line_of_the_log() -> None:
    said = {"event": "answered", "path": "/x\x1b[2Jfake\x9b", "exception": "one\n\ttwo\r", "status": 404}
    assert without_control_characters(None, "info", said) == {
        "event": "answered",
        "path": "/x\\x1b[2Jfake\\x9b",
        "exception": "one\n\ttwo\\x0d",
        "status": 404,
    }


def test_a_data_dir_that_has_yet_to_be_made_has_a_disk_too(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "not" / "yet"
    [disk] = check_machine()
    assert disk.name == "disk"
