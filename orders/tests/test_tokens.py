"""How long a token lasts, and that it can be taken back: for the API here, for the WebSocket in notifications/tests."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.test import APIClient


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
