"""The web process while its PostgreSQL is dead, or hangs: it answers soon, says what to do, and recovers by itself."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from django.conf import settings

from testsupport.waiting import wait_until
from testsupport.web_process import ORDER, Answer, WebProcess

DETAIL = (
    "The database is not available. If this request was to place an order, it may have been stored: "
    "repeat it with the same client_order_id, and it will be placed once."
)
# Requests wait for 2.5 s, and a busy machine may take some more. Without a limit it would be 20 s or for ever.
LIMIT_S = 10.0


@pytest.fixture
def dead(web: WebProcess) -> Iterator[WebProcess]:
    """PostgreSQL was killed after the web process had connected to it."""
    assert web.order().status == 202
    web.kill_postgres()
    yield web
    web.start_postgres()


@pytest.fixture
def frozen(web: WebProcess) -> Iterator[WebProcess]:
    """PostgreSQL neither answers nor closes a connection, as it is behind a network that swallows packets."""
    assert web.order().status == 202
    web.freeze_postgres()
    yield web
    web.thaw_postgres()
    wait_until(lambda: web.order().status == 202, within_s=5, what="it has noticed that the database answers again")


@pytest.fixture
def read_only(web: WebProcess) -> Iterator[WebProcess]:
    """PostgreSQL answers and takes no changes, as a primary does that was put out of service."""
    assert web.order().status == 202
    web.administer("ALTER SYSTEM SET default_transaction_read_only = on")
    yield web
    web.administer("ALTER SYSTEM RESET default_transaction_read_only")
    assert set(statuses_of_many(web)) == {202}


def assert_says_that_the_database_is_away(answer: Answer) -> None:
    assert (answer.status, json.loads(answer.text)) == (503, {"detail": DETAIL})
    assert answer.headers["retry-after"] == "1"
    assert answer.took_s < LIMIT_S


def orders_with(web: WebProcess, own_id: str) -> list[str]:
    answer = web.ask("GET", f"/orders?client_order_id={own_id}", Authorization=f"Token {web.token}")
    return [order["id"] for order in json.loads(answer.text)["results"]]


def statuses_of_many(web: WebProcess) -> list[int]:
    with ThreadPoolExecutor(16) as pool:
        return [answer.status for answer in pool.map(lambda _: web.order(), range(64))]


def test_an_order_is_answered_with_503_and_what_to_do(dead: WebProcess) -> None:
    for _ in range(3):
        assert_says_that_the_database_is_away(dead.order())


def test_so_is_a_list_and_so_are_wrong_credentials(dead: WebProcess) -> None:
    for credentials in (f"Token {dead.token}", "Token " + "a" * 64):
        assert_says_that_the_database_is_away(dead.ask("GET", "/orders", Authorization=credentials))
    assert_says_that_the_database_is_away(dead.ask("GET", f"/orders/{uuid4()}"))
    assert_says_that_the_database_is_away(dead.ask("POST", "/orders/batch", []))


def test_so_is_a_page_of_the_back_office(dead: WebProcess) -> None:
    for path in ("/admin/", "/admin/orders/order/", f"/admin/orders/order/{uuid4()}/change/"):
        assert_says_that_the_database_is_away(dead.ask("GET", path, Cookie=f"sessionid={dead.session}"))


def test_only_readiness_suffers(dead: WebProcess) -> None:
    ready = dead.ask("GET", "/health/ready")
    assert (ready.status, json.loads(ready.text)["problems"]) == (503, {"database": "The database is not available."})
    for path in ("/health/live", "/docs", "/schema"):
        assert dead.ask("GET", path).status == 200


def test_nothing_is_lost_and_orders_are_taken_again_by_itself(web: WebProcess) -> None:
    own_id = uuid4().hex
    assert web.order(client_order_id=own_id).status == 202
    web.kill_postgres()
    assert_says_that_the_database_is_away(web.order())
    web.start_postgres()
    assert web.order(client_order_id=own_id).status == 200
    assert web.ask("GET", "/health/ready").status == 200
    assert web.ask("GET", "/admin/", Cookie=f"sessionid={web.session}").status == 200


def test_no_connection_is_used_that_died_with_an_earlier_server(web: WebProcess) -> None:
    assert set(statuses_of_many(web)) == {202}
    web.kill_postgres()
    web.start_postgres()
    # Each of the web process's threads has a connection of its own.
    assert set(statuses_of_many(web)) == {202}


@pytest.mark.parametrize("count", [10, 3 * settings.WEB_THREADS])
def test_orders_sent_to_a_database_that_hangs_are_answered_in_time(frozen: WebProcess, count: int) -> None:
    """More of them than there are threads have to queue for one, and do not wait themselves, too."""
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda _: frozen.order(), range(count)))
    for answer in answers:
        assert_says_that_the_database_is_away(answer)


def test_an_order_that_met_a_hanging_database_is_stored_once_by_its_repeat(web: WebProcess) -> None:
    own_id = uuid4().hex
    assert web.order().status == 202
    web.freeze_postgres()
    try:
        assert_says_that_the_database_is_away(web.order(client_order_id=own_id))
    finally:
        web.thaw_postgres()
    wait_until(lambda: web.order(client_order_id=own_id).status in {200, 202}, within_s=5, what="the repeat is taken")
    assert len(orders_with(web, own_id)) == 1


def test_the_log_names_the_trouble_without_a_stack_trace(dead: WebProcess) -> None:
    said_before = len(dead.output.read_text())
    dead.order()
    dead.ask("GET", "/admin/", Cookie=f"sessionid={dead.session}")
    said = dead.output.read_text()[said_before:]
    assert said.count("database_unavailable") == 2
    assert "Traceback" not in said


@pytest.fixture
def locked(web: WebProcess) -> Iterator[WebProcess]:
    """Somebody holds the row that orders of the account `demo` wait for, which has a limit."""
    with psycopg.connect(web.environment["DATABASE_URL"]) as database:
        [(demo,)] = database.execute("SELECT id FROM auth_user WHERE username = 'demo'").fetchall()
        limits = "INSERT INTO orders_accountlimits (account_id, open_orders) VALUES (%s, 1000000)"
        database.execute(limits, [demo])
        database.commit()
        database.execute("SELECT FROM orders_accountlimits FOR UPDATE")
        yield web
        database.rollback()
        database.execute("DELETE FROM orders_accountlimits")


def test_one_account_that_waits_for_a_lock_costs_the_others_nothing(locked: WebProcess) -> None:
    with ThreadPoolExecutor(8) as tenant, ThreadPoolExecutor(2) as others:
        answers: list[Answer] = []
        waiting = [tenant.submit(locked.ask, "POST", "/orders/batch", [ORDER] * 3) for _ in range(8)]
        while not all(one.done() for one in waiting):
            answers += others.map(lambda _: locked.order(), range(4))
    assert {answer.status for answer in answers} == {202}
    for one in waiting:
        assert_says_that_the_database_is_away(one.result())


def test_a_statement_that_was_given_up_is_ended_at_the_server(locked: WebProcess) -> None:
    assert_says_that_the_database_is_away(locked.ask("POST", "/orders/batch", [ORDER] * 3))
    with psycopg.connect(locked.environment["DATABASE_URL"], autocommit=True) as database:

        def waits() -> bool:
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'lemon_market web'"
            return bool(database.execute(waiting).fetchall())

        wait_until(lambda: not waits(), within_s=5, what="nothing waits for the lock any more")


def test_a_database_that_takes_no_changes_is_as_good_as_away(read_only: WebProcess) -> None:
    own = {"Authorization": f"Token {read_only.token}"}
    # What can be read is still read.
    [known] = json.loads(read_only.ask("GET", "/orders?page_size=1", **own).text)["results"]
    for _ in range(3):
        assert_says_that_the_database_is_away(read_only.order())
    assert_says_that_the_database_is_away(read_only.ask("POST", "/orders/batch", [ORDER] * 2, **own))
    assert_says_that_the_database_is_away(read_only.ask("POST", f"/orders/{known['id']}/cancel", **own))
    ready = read_only.ask("GET", "/health/ready")
    assert ready.status == 503
    assert json.loads(ready.text)["problems"] == {"database": "The database is read-only."}


@pytest.mark.parametrize(
    ("table", "column", "length"),
    [
        ("auth_user", "last_name", 150),
        ("knox_authtoken", "token_key", 25),
        ("orders_order", "client_order_id", 64),
        ("orders_orderevent", "type", 20),
        ("django_q_ormq", "key", 100),
        ("orders_halt", "reason", 200),
    ],
)
def test_a_change_of_a_table_costs_nobody_an_answer(web: WebProcess, table: str, column: str, length: int) -> None:
    """Of those that statements read which are prepared once for a connection: a migration, as the release before it meets it."""
    assert set(statuses_of_many(web)) == {202}
    for longer in (50, 60):
        web.administer(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar({length + longer})")
        assert set(statuses_of_many(web)) == {202}
