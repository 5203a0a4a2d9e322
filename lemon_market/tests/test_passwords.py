"""Those who sign in, or only try to, do not keep anybody else waiting."""

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.contrib.auth.models import User
from django.test import Client

from infrastructure.passwords import LOW_PRIORITY, MAX_SIGN_INS, PasswordHasher, at_low_priority, hashing, sign_ins
from testsupport.waiting import wait_until
from testsupport.web_process import Answer, WebProcess

PASSWORD = "a long enough password 1"
FORMS = {
    "/login": {"username": "paula", "password": PASSWORD},
    "/admin/login/": {"username": "paula", "password": PASSWORD},
    "/admin/password_change/": {"old_password": PASSWORD, "new_password1": "x", "new_password2": "x"},
}


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_superuser("paula", password=PASSWORD)


def test_hashes_are_djangos() -> None:
    assert PasswordHasher().encode("secret", "salt", 1000) == PBKDF2PasswordHasher().encode("secret", "salt", 1000)
    assert check_password("secret", make_password("secret"))


def test_one_is_hashed_at_a_time() -> None:
    may_end = threading.Event()
    running: list[int] = []

    def work() -> int:
        running.append(1)
        assert may_end.wait(20)
        running.pop()
        return len(running)

    with ThreadPoolExecutor(3) as threads:
        all_three = [threads.submit(at_low_priority, work) for _ in range(3)]
        wait_until(lambda: running, what="the first one is hashed")
        assert hashing.locked()
        may_end.set()
        assert [one.result() for one in all_three] == [0] * 3
    assert at_low_priority(lambda: 7) == 7


def test_it_is_done_at_low_priority_and_nothing_else_is() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    assert at_low_priority(priority) == max(before, LOW_PRIORITY)
    assert priority() == before


@pytest.fixture
def busy() -> Iterator[None]:
    """As many sign in as may."""
    taken = [sign_ins.acquire(blocking=False) for _ in range(MAX_SIGN_INS)]
    assert all(taken)
    yield
    for _ in taken:
        sign_ins.release()


@pytest.mark.parametrize("path", FORMS)
def test_who_is_turned_away_is_told_and_is_not_counted_as_guessing(
    person: User, settings: Any, path: str, request: pytest.FixtureRequest
) -> None:
    settings.FAILED_LOGINS_PER_MINUTE = 3
    client = Client()
    if path == "/admin/password_change/":
        client.force_login(person)
    request.getfixturevalue("busy")
    for _ in range(5):
        answer = client.post(path, FORMS[path])
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert "Too many people are signing in" in answer.content.decode()


@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
@pytest.mark.parametrize("length", [151, 256, 5000])
def test_a_name_longer_than_any_is_a_wrong_one(person: User, path: str, length: int) -> None:
    for _ in range(2):
        answer = Client().post(path, {"username": "p" * length, "password": PASSWORD})
        assert answer.status_code == 200
        assert "Please enter" in answer.content.decode()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[WebProcess]:
    process = WebProcess(tmp_path, FAILED_LOGINS_PER_MINUTE="20")
    yield process
    process.stop()


def test_64_who_try_passwords_at_once_cost_no_order_anything(guarded: WebProcess) -> None:
    page = guarded.ask("GET", "/login")
    cookie = page.headers["set-cookie"].split(";")[0]
    form = {"csrfmiddlewaretoken": cookie.split("=")[1], "password": "wrong"}

    def sign_in(number: int) -> Answer:
        body = urlencode(form | {"username": f"name-{number}"})
        headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        return guarded.ask("POST", "/login", body, **headers)

    with ThreadPoolExecutor(64) as attackers, ThreadPoolExecutor(4) as clients:
        attempts = [attackers.submit(sign_in, number) for number in range(64)]
        orders = list(clients.map(lambda _: guarded.order(), range(100)))
        answers = Counter(attempt.result().status for attempt in attempts)
    assert {order.status for order in orders} == {202}
    # The form again, or that too many are signing in, or that this address has tried too often.
    assert answers.keys() <= {200, 503, 429}
    assert answers[200] <= 20
    assert answers[503] >= 1
    assert json.loads(orders[-1].text)["status"] == "pending"
