"""How often an account and an address may ask, in one process and over several."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from infrastructure import throttling
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.models import RequestCount
from infrastructure.throttling import Counter, Rate
from orders.models import Order
from testsupport.api_calls import MARKET, client_for, post

PASSWORD = "correct horse 7"
FAR = 3600 * 24 * 365 * 100
"""A window that does not end within a test, in seconds."""


def rate(limit: int) -> Rate:
    return Rate("test", limit, FAR)


@pytest.fixture(autouse=True)
def fresh_counts(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """As in a process that has just started."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    monkeypatch.setattr(throttling.counter, "counts", {})
    monkeypatch.setattr(throttling, "time", lambda: 1_000_000_000.0)


def let_in(counter: Counter, limit: int, tries: int, who: str = "anna") -> int:
    return sum(counter.add(rate(limit), who) is None for _ in range(tries))


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [1, 30, 199, 1000, 5432])
def test_one_process_lets_in_exactly_the_limit(limit: int) -> None:
    assert let_in(Counter(), limit, limit + 10) == limit


@pytest.mark.django_db
@pytest.mark.parametrize("processes", [2, 5])
@pytest.mark.parametrize("limit", [30, 199, 1000, 5000])
def test_several_processes_let_in_a_hundredth_more_for_each_other_one_at_most(limit: int, processes: int) -> None:
    counters = [Counter() for _ in range(processes)]
    # In turns, which is as unfavourable as it gets.
    taken = sum(let_in(counter, limit, 1) for _ in range(limit + 200) for counter in counters)
    share = limit // 100 if limit >= 200 else 0
    assert limit <= taken <= limit + share * (processes - 1)


@pytest.mark.django_db
def test_threads_of_one_process_count_together() -> None:
    counter = Counter()
    # No share becomes full, which would take a connection for each thread.
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: let_in(counter, 100_000, 100), range(9)))
    assert counter.current(rate(100_000), "anna", 1_000_000_000.0).pending == 900


@pytest.mark.django_db
def test_others_are_counted_by_themselves() -> None:
    counter = Counter()
    assert let_in(counter, 5, 10) == 5
    assert let_in(counter, 5, 10, who="bert") == 5


@pytest.mark.django_db
def test_a_new_window_begins_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    counter, short = Counter(), Rate("test", 3, 10)
    assert [counter.add(short, "anna") for _ in range(4)] == [None, None, None, 10.0]
    monkeypatch.setattr(throttling, "time", lambda: 1_000_000_010.5)
    assert [counter.add(short, "anna") for _ in range(4)] == [None, None, None, 9.5]
    # The table has one row for one who is counted, and not one for each window.
    assert RequestCount.objects.get(rate="test").count == 3


@pytest.mark.django_db
def test_windows_that_are_over_are_removed() -> None:
    for number in range(5):
        RequestCount.add("test", f"old-{number}", 1000, 7)
    RequestCount.add("test", "anna", 1000 + 121, 1)
    assert [row.who for row in RequestCount.objects.all()] == ["anna"]


@pytest.mark.django_db
def test_nothing_is_counted_without_a_limit(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert let_in(Counter(), 0, 1000) == 1000


def test_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "MAX_CLIENTS", 10)
    counter = Counter()
    for number in range(95):
        counter.add(rate(1000), str(number))
    assert len(counter.counts) <= 10


def test_without_the_table_a_process_goes_by_its_own_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise DatabaseUnavailable("down")

    monkeypatch.setattr(RequestCount, "add", fail)
    assert let_in(Counter(), 20, 50) == 20


@pytest.mark.django_db(transaction=True)
def test_the_table_adds_up_what_is_written_at_the_same_time() -> None:
    def write(_: int) -> None:
        RequestCount.add("test", "anna", 1000, 1)
        connection.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(200)))
    assert RequestCount.add("test", "anna", 1000, 0) == 200


def test_the_table_is_unlogged(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence FROM pg_class WHERE relname = 'infrastructure_requestcount'")
        assert cursor.fetchone() == ("u",)


def test_an_account_that_asks_too_often_has_to_wait(account: Any, django_user_model: Any, settings: Any) -> None:
    settings.ACCOUNT_REQUESTS_PER_SECOND = 1
    anna, bert = client_for(account), client_for(django_user_model.objects.create_user("bert"))
    assert [post(anna, MARKET).status_code for _ in range(10)] == [202] * 10
    answer = post(anna, MARKET)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 10
    assert anna.get("/orders").status_code == 429
    assert Order.objects.count() == 10
    assert bert.get("/orders").status_code == 200


def counted(rate: str, who: Any) -> int:
    count = throttling.counter.counts.get((rate, str(who)))
    return 0 if count is None else count.shared + count.pending


def test_each_request_counts_once_for_its_account_and_once_for_its_address(account: Any, settings: Any) -> None:
    settings.TOKEN_CACHE_TTL = 3600.0
    client = client_for(account)
    known = MARKET | {"client_order_id": "c1"}
    asked: list[tuple[Any, str, int]] = [
        *[(MARKET, "/orders", 202), (known, "/orders", 202), (known, "/orders", 200)],
        *[(known | {"side": "sell"}, "/orders", 409), (MARKET | {"quantity": 0}, "/orders", 400), ("", "/orders", 400)],
        *[([MARKET], "/orders/batch", 202), ([], "/orders/batch", 400)],
    ]
    for number, (body, path, status) in enumerate(asked, start=1):
        assert post(client, body, path).status_code == status
        assert (counted("account", account.pk), counted("address", "127.0.0.1")) == (number, number)


def test_a_request_costs_no_statement_until_a_hundredth_of_the_limit(account: Any, settings: Any) -> None:
    settings.ACCOUNT_REQUESTS_PER_SECOND, settings.ADDRESS_REQUESTS_PER_SECOND = 100, 200
    client = client_for(account)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        for _ in range(40):
            client.get("/orders?page_size=1")
    counting = [query["sql"] for query in queries if "requestcount" in query["sql"]]
    # Of the account after 10, 20, 30 and 40 requests, and of the address after 20 and 40.
    assert len(counting) == 4 + 2


def test_an_address_that_asks_too_often_has_to_wait(account: Any, settings: Any) -> None:
    settings.ADDRESS_REQUESTS_PER_SECOND = 1
    clients = [Client(), client_for(account)]
    codes = [client.get("/health/live", REMOTE_ADDR="192.0.2.1").status_code for _ in range(6) for client in clients]
    assert codes == [200] * 10 + [429] * 2
    answer = clients[0].get("/login", REMOTE_ADDR="192.0.2.1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
    assert Client().get("/health/live", REMOTE_ADDR="192.0.2.2").status_code == 200


def test_an_address_that_guesses_tokens_has_to_wait(account: Any, settings: Any) -> None:
    settings.FAILED_LOGINS_PER_MINUTE = 3
    good = client_for(account)
    wrong = {"Authorization": f"Token {'a' * 64}"}
    codes = [Client().get("/orders", headers=wrong, REMOTE_ADDR="192.0.2.1").status_code for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    # Nobody with a good token has to wait for that, wherever he comes from.
    assert good.get("/orders", REMOTE_ADDR="192.0.2.1").status_code == 200
    assert good.get("/orders", REMOTE_ADDR="192.0.2.2").status_code == 200
    # What needs no credentials goes on.
    assert Client().get("/health/live", REMOTE_ADDR="192.0.2.1").status_code == 200


def test_good_tokens_are_not_counted_as_guesses(account: Any, settings: Any) -> None:
    settings.FAILED_LOGINS_PER_MINUTE = 3
    client = client_for(account)
    assert {client.get("/orders").status_code for _ in range(10)} == {200}


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("paula", password=PASSWORD, is_staff=True)


def sign_in(path: str, password: str, name: str = "paula", address: str = "192.0.2.1") -> int:
    form = {"username": name, "password": password}
    return Client(raise_request_exception=False).post(path, form, REMOTE_ADDR=address).status_code


@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
def test_a_guessed_account_is_locked_for_that_address(person: User, path: str) -> None:
    assert [sign_in(path, "wrong") for _ in range(9)] == [200] * 9
    assert sign_in(path, "wrong") == 429
    # On both pages, and with the right password too.
    assert sign_in("/login", PASSWORD) == sign_in("/admin/login/", PASSWORD) == 429
    assert sign_in(path, PASSWORD, address="192.0.2.2") == 302


def test_a_locked_account_is_told_in_a_page(person: User) -> None:
    for _ in range(10):
        sign_in("/login", "wrong")
    answer = Client().post("/login", {"username": "paula", "password": PASSWORD}, REMOTE_ADDR="192.0.2.1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "900")
    assert "Too many failed attempts" in answer.content.decode()


def test_signing_in_forgets_the_wrong_passwords_before(person: User) -> None:
    for _ in range(3):
        assert [sign_in("/login", "wrong") for _ in range(6)] == [200] * 6
        assert sign_in("/login", PASSWORD) == 302


@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
def test_an_address_that_guesses_many_accounts_has_to_wait(person: User, settings: Any, path: str) -> None:
    settings.FAILED_LOGINS_PER_MINUTE = 5
    assert [sign_in(path, "wrong", name=f"name-{number}") for number in range(7)] == [200] * 5 + [429] * 2
    assert sign_in(path, PASSWORD) == 429
    assert sign_in(path, PASSWORD, address="192.0.2.2") == 302


@pytest.mark.django_db
def test_old_passwords_are_not_guessed_on_the_page_that_changes_them(settings: Any, admin_client: Client) -> None:
    """By somebody who has another's session."""
    settings.FAILED_LOGINS_PER_MINUTE = 3
    guess = {"old_password": "wrong", "new_password1": PASSWORD, "new_password2": PASSWORD}
    answers = [admin_client.post("/admin/password_change/", guess).status_code for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]
