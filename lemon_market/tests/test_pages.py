"""The API's description, and what visitors are told about errors."""

import re
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

HOST = re.compile(r"https?://[^\s\"'<>)]+")
ASSET = re.compile(r"""<(?:script|link|img)[^>]*?(?:src|href)="([^"]+)""")


@pytest.fixture
def client() -> Client:
    """Gets the page that a visitor gets when something breaks, and not the exception."""
    return Client(raise_request_exception=False)


def test_the_documentation_takes_nothing_from_another_host(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    html = page.content.decode()
    assert HOST.findall(html) == []
    assets = ASSET.findall(html)
    assert any(asset.endswith(".js") for asset in assets)
    assert any(asset.endswith(".css") for asset in assets)
    for asset in assets:
        assert asset.startswith(("/static/", "/docs?"))
        answer = client.get(asset)
        assert answer.status_code == 200, asset
        assert len(b"".join(answer)) > 100, asset


def test_the_documentation_loads_the_schema_from_here(client: Client) -> None:
    assert b'"/schema"' in client.get("/docs?script=").content
    schema = client.get("/schema", headers={"Accept": "application/json"})
    assert schema.status_code == 200
    assert schema.json()["openapi"].startswith("3.")


def test_the_schema_is_valid_and_nothing_in_it_had_to_be_guessed(tmp_path: Any) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))


def test_the_schema_describes_what_each_call_takes_and_answers(client: Client) -> None:
    paths = client.get("/schema", headers={"Accept": "application/json"}).json()["paths"]
    assert {path: set(calls) for path, calls in paths.items()} == {
        "/orders": {"get", "post"},
        "/orders/{id}": {"get"},
        "/orders/{id}/cancel": {"post"},
        "/orders/batch": {"post"},
    }
    batch = paths["/orders/batch"]["post"]
    assert "parameters" not in batch
    assert batch["responses"]["202"]["content"]["application/json"]["schema"]["type"] == "array"
    responses = {f"{method} {path}": set(call["responses"]) for path, calls in paths.items() for method, call in calls.items()}
    always = {"200", "401", "406", "429", "503"}
    placed = {*always, "202", "400", "403", "409", "411", "413", "415", "422"}
    assert responses == {
        "get /orders": always | {"400", "404"},
        "post /orders": placed,
        "post /orders/batch": placed,
        "get /orders/{id}": always | {"404"},
        "post /orders/{id}/cancel": always | {"202", "403", "404", "409", "411", "413"},
    }
    assert paths["/orders"]["post"]["security"] == [{"knoxApiToken": []}, {"cookieAuth": []}]


@pytest.mark.parametrize(("path", "to"), [("/", "/login?next=/"), ("/admin", "/admin/")])
def test_short_addresses_lead_to_the_pages(client: Client, path: str, to: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (302, to)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/orders/", "/orders/1/2/3", "/static/none.js", "/static/../manage.py", "/%2e%2e/etc/passwd"]
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_address_is_not_found_and_tells_nothing(client: Client, method: str, path: str) -> None:
    answer = getattr(client, method)(path)
    assert answer.status_code == 404
    assert_tells_nothing(answer.content.decode())


@pytest.mark.django_db
def test_a_bug_is_answered_without_its_stack_trace(client: Client, admin_user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr("orders.api.views.accept_orders", fail)
    client.force_login(admin_user)
    body = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 1}
    answer = client.post("/orders", body, content_type="application/json")
    assert answer.status_code == 500
    assert_tells_nothing(answer.content.decode())


def test_a_host_that_is_not_ours_is_refused(client: Client) -> None:
    answer = client.get("/docs", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert "evil" not in answer.content.decode()
    assert_tells_nothing(answer.content.decode())


def assert_tells_nothing(text: str) -> None:
    for word in ("Traceback", "secret words", "lemon_market", "RuntimeError", "urlpatterns", "DEBUG"):
        assert word not in text
