"""Requests that nobody sends by mistake: what cannot be understood is refused, and is no error of ours."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.test import Client, RequestFactory

from infrastructure.logs import without_control_characters
from lemon_market.doctor.machine import check_machine

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
        "orders/order/?created_at_to_0=9999-12-31&created_at_to_1=23:59:59.999999%00",
        "orders/order/?created_at__year=99999",
        "orders/order/?status__range=x",
        "orders/order/?status__exact=open",
        "orders/order/?attention=nobody",
        "orders/order/?client_order_id__regex=(a%2B)%2B$",
        "orders/order/?account__password__startswith=pbkdf2",
        "auth/user/?groups__id__exact=99999999999999999999",
        "auth/user/?password__startswith=a",
        "orders/safetyevent/?type=%00",
        "orders/deadletter/?reason__regex=(((",
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


def test_the_last_day_that_there_is_has_an_end(admin_client: Client) -> None:
    answer = admin_client.get("/admin/orders/order/?created_at_to_0=9999-12-31&created_at_to_1=23:59:59")
    assert answer.status_code == 200


def test_a_list_takes_no_look_up_but_those_of_its_own_filters(rf: RequestFactory) -> None:
    """Of all that Django knows: each look-up of each column, and of the columns of what it belongs to."""
    request = rf.get("/")
    refused = 0
    pages: Any = admin.site._registry
    for page in pages.values():
        for name, field in columns(page.model):
            for lookup in ("", *(f"__{lookup}" for lookup in field.get_lookups())):
                for value in ("x", "99999999999999999999", "((("):
                    known = page.lookups.get(f"{name}{lookup}")
                    if known is None or not known(value):
                        with pytest.raises(IncorrectLookupParameters):
                            page.lookup_allowed(f"{name}{lookup}", value, request)
                        refused += 1
    assert refused > 2_000


def columns(model: Any, *, deeper: bool = True) -> Iterator[tuple[str, Any]]:
    for field in model._meta.get_fields():
        if field.is_relation and deeper and field.related_model is not None:
            yield from ((f"{field.name}__{name}", column) for name, column in columns(field.related_model, deeper=False))
        if field.concrete:
            yield field.name, field


@pytest.mark.parametrize("path", ["/admin/auth/user/?q=", "/admin/orders/order/?q=", "/admin/orders/safetyevent/?q="])
@pytest.mark.parametrize("term", ["%00", "a" * 5000, "(((", "%ff"])
def test_any_term_can_be_searched_for(admin_client: Client, path: str, term: str) -> None:
    assert admin_client.get(f"{path}{term}").status_code == 200


def test_any_term_can_be_asked_for_in_a_form(admin_client: Client) -> None:
    asked = {"app_label": "orders", "model_name": "accountlimits", "field_name": "account", "term": "a\0"}
    assert admin_client.get("/admin/autocomplete/", asked).status_code == 200
