"""Passwords, sessions and forms of people: what nobody may be able to guess, steal or overfill."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import identify_hasher
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

PASSWORD = "Quite-long-7-word"
pytestmark = pytest.mark.django_db


@pytest.fixture
def anna() -> User:
    return User.objects.create_user("anna", password=PASSWORD)


def sign_in(client: Client, **more: Any) -> Any:
    return client.post("/login", {"username": "anna", "password": PASSWORD, **more})


@pytest.mark.parametrize(
    ("weak", "reason"),
    [("Short-7-wor", "too short"), ("193847561029", "numeric"), ("startfinding", "common"), ("olivia-lemon1", "similar")],
)
def test_a_weak_password_is_refused(weak: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        validate_password(weak, User(username="olivia-lemon"))


def test_a_good_one_is_taken_and_stored_as_pbkdf2(anna: User) -> None:
    validate_password(PASSWORD, anna)
    assert PASSWORD not in anna.password
    assert identify_hasher(anna.password).algorithm == "pbkdf2_sha256"


def test_no_script_reads_the_cookies_and_no_other_site_sends_them(anna: User, client: Client) -> None:
    client.get("/login")
    sign_in(client)
    session, token = client.cookies["sessionid"], client.cookies["csrftoken"]
    assert (session["httponly"], session["samesite"], session["max-age"]) == (True, "Lax", 12 * 3600)
    assert (token["httponly"], token["samesite"]) == (True, "Strict")


def test_signing_in_makes_a_new_session_that_ends(anna: User, client: Client) -> None:
    client.get("/login")
    session = client.session
    session["kept"] = True
    session.save()
    before = session.session_key
    sign_in(client)
    assert client.session.session_key != before
    assert not Session.objects.filter(session_key=before).exists()
    ends = Session.objects.get(session_key=client.session.session_key).expire_date
    assert abs(ends - timezone.now() - timedelta(hours=12)) < timedelta(minutes=1)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert client.get("/").status_code == 302


def test_a_form_has_only_so_many_fields_and_no_files(anna: User, client: Client) -> None:
    client.raise_request_exception = False
    assert sign_in(client, **{f"field{number}": "" for number in range(999)}).status_code == 400
    assert sign_in(client, file=SimpleUploadedFile("file", b"x")).status_code == 400
    assert sign_in(client).status_code == 302
