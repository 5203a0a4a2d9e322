"""How long a token lasts, and that it can be taken back: for the API here, for the WebSocket in notifications/tests."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.test import APIClient

from orders.api import authentication
from testsupport.api_calls import MARKET, NOTHING, client_for, post, stored


@pytest.fixture(autouse=True)
def looked_up_each_time(settings: Any) -> None:
    settings.TOKEN_CACHE_TTL = 0.0


def create_token(*options: str) -> str:
    out = StringIO()
    call_command("create_token", "anna", *options, stdout=out)
    return out.getvalue().strip()


def status_with(token: str) -> int:
    return int(APIClient().get("/orders", headers={"Authorization": f"Token {token}"}).status_code)


@pytest.mark.parametrize(("options", "days"), [([], 30), (["--days", "1"], 1), (["--days", "365"], 365)])
def test_a_token_lasts_so_many_days(account: Any, options: list[str], days: int) -> None:
    token = create_token(*options)
    expiry = AuthToken.objects.get().expiry
    assert expiry is not None
    assert abs(expiry - timezone.now() - timedelta(days=days)) < timedelta(minutes=1)
    assert status_with(token) == 200
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert status_with(token) == 401


@pytest.mark.parametrize("options", [["--never"], ["--days", "0"]])
def test_a_token_lasts_for_ever_only_on_purpose(account: Any, options: list[str]) -> None:
    token = create_token(*options)
    assert AuthToken.objects.get().expiry is None
    assert status_with(token) == 200


@pytest.mark.parametrize("options", [["--days", "-1"], ["--days", "4000"], ["--days", "x"], ["--days", "3", "--never"]])
def test_odd_lifetimes_are_refused(account: Any, options: list[str]) -> None:
    with pytest.raises(CommandError):
        create_token(*options)
    assert not AuthToken.objects.exists()


def test_asking_with_a_token_does_not_make_it_last_longer(account: Any) -> None:
    token = create_token()
    before = AuthToken.objects.get().expiry
    assert status_with(token) == 200
    assert AuthToken.objects.get().expiry == before


def test_an_administrator_revokes_a_token(account: Any, admin_user: Any) -> None:
    revoked, kept = create_token(), create_token()
    browser = Client()
    browser.force_login(admin_user)
    row = AuthToken.objects.get(token_key=revoked[:15])
    assert browser.post(f"/admin/knox/authtoken/{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert (status_with(revoked), status_with(kept)) == (401, 200)


def test_for_a_second_a_token_is_believed_without_being_looked_up(
    account: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TOKEN_CACHE_TTL = 1.0
    now_s = 1000.0
    monkeypatch.setattr(authentication, "monotonic", lambda: now_s)
    revoked, kept = create_token(), create_token()
    assert (status_with(revoked), status_with(kept)) == (200, 200)
    AuthToken.objects.get(token_key=revoked[:15]).delete()
    account.first_name = "Anna"
    account.save()
    now_s += 0.99
    with CaptureQueriesContext(connection) as captured:
        assert (status_with(revoked), status_with(kept)) == (200, 200)
    assert not [query for query in captured.captured_queries if "knox_authtoken" in query["sql"]]
    now_s += 0.01
    assert (status_with(revoked), status_with(kept)) == (401, 200)
    # A wrong one is looked up each time, and never kept.
    assert status_with(revoked) == 401
    assert hash_token(revoked) not in authentication.token_cache


def test_a_token_that_is_believed_ends_at_its_end_all_the_same(
    account: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TOKEN_CACHE_TTL = 3600.0
    token = create_token("--days", "1")
    assert status_with(token) == 200
    later = timezone.now() + timedelta(days=2)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    assert status_with(token) == 401


def test_an_account_that_is_switched_off_is_believed_for_a_second_at_most(
    account: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TOKEN_CACHE_TTL = 1.0
    now_s = 1000.0
    monkeypatch.setattr(authentication, "monotonic", lambda: now_s)
    token = create_token()
    assert status_with(token) == 200
    User.objects.update(is_active=False)
    assert status_with(token) == 200
    now_s += 1.0
    assert status_with(token) == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/orders", "/orders/batch"])
def test_an_account_that_is_gone_is_told_so(settings: Any, path: str) -> None:
    settings.TOKEN_CACHE_TTL = 3600.0
    account = User.objects.create_user("zoe")
    client = client_for(account)
    assert client.get("/orders").status_code == 200
    User.objects.filter(pk=account.pk).delete()
    answer = post(client, [MARKET] if path.endswith("batch") else MARKET, path)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid token."})
    assert stored() == NOTHING


def test_only_so_many_tokens_are_cached(account: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.TOKEN_CACHE_TTL = 1.0
    monkeypatch.setattr(authentication, "token_cache", {})
    monkeypatch.setattr(authentication, "MAX_CACHED_TOKENS", 3)
    tokens = [create_token() for _ in range(8)]
    for token in tokens:
        assert status_with(token) == 200
        assert len(authentication.token_cache) <= 3
    assert hash_token(tokens[-1]) in authentication.token_cache
