"""What each error of the database is taken for, by a server that really raises it."""

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.db import DataError, InternalError, NotSupportedError, ProgrammingError, connection, transaction

from infrastructure.database.base import TRANSACTION_TRIES, in_transaction, run_prepared
from infrastructure.database.errors import DatabaseUnavailable, StalePlan, StatementTooSlow, TransactionUndone
from infrastructure.database.parameters import connection_parameters

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other() -> Iterator[psycopg.Connection]:
    """Somebody else's connection."""
    with psycopg.connect(**connection_parameters(), autocommit=True) as database:
        yield database


def fail_with(code: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'a trial' USING ERRCODE = '{code}'; END $$")


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        *[(code, DatabaseUnavailable) for code in ("08000", "08006", "53000", "53100", "53200", "53300")],
        *[(code, DatabaseUnavailable) for code in ("57P01", "57P02", "57P03", "57P05", "58030", "25006", "25P03")],
        *[(code, TransactionUndone) for code in ("40001", "40P01", "55P03")],
        ("57014", StatementTooSlow),
        ("0A000", NotSupportedError),
        ("22003", DataError),
        ("25000", InternalError),
        ("42501", ProgrammingError),
        ("42P01", ProgrammingError),
    ],
)
def test_an_error_is_what_its_code_says(code: str, meaning: type[Exception]) -> None:
    with pytest.raises(meaning) as raised:
        fail_with(code)
    assert raised.type is meaning


def test_a_connection_that_the_server_ended_is_unavailable_once(other: psycopg.Connection) -> None:
    connection.ensure_connection()
    other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            fail_with("22003")
    connection.close_if_unusable_or_obsolete()
    assert run_prepared("SELECT %s::int", [1]) == [(1,)]


def test_a_connection_to_a_server_that_takes_no_changes_is_given_up() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    before = connection.connection
    with pytest.raises(DatabaseUnavailable), connection.cursor() as cursor:
        cursor.execute("DELETE FROM orders_order")
    connection.close_if_unusable_or_obsolete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM orders_order")
    assert connection.connection is not before


@pytest.fixture
def table(other: psycopg.Connection) -> Iterator[Callable[[], None]]:
    """A table `trial` with a row, and what alters it for whoever has prepared a statement."""
    other.execute("CREATE TABLE trial (name varchar(10))")
    other.execute("INSERT INTO trial VALUES ('a')")

    def alter() -> None:
        other.execute("ALTER TABLE trial ALTER COLUMN name TYPE text")

    yield alter
    connection.close()
    other.execute("DROP TABLE trial")


def test_a_prepared_statement_outlives_a_change_of_its_table(table: Callable[[], None]) -> None:
    for alter in (table, lambda: None):
        assert run_prepared("SELECT name FROM trial WHERE name = %s", ["a"]) == [("a",)]
        alter()
    assert run_prepared("SELECT name FROM trial WHERE name = %s", ["a"]) == [("a",)]


def test_a_transaction_is_repeated_when_a_table_was_changed(table: Callable[[], None]) -> None:
    tries = []

    @in_transaction
    def work() -> list[tuple[str]]:
        tries.append(1)
        return run_prepared("SELECT name FROM trial WHERE name = %s", ["a"])

    assert work() == [("a",)]
    table()
    assert work() == [("a",)]
    assert len(tries) == 3
    assert work() == [("a",)]
    assert len(tries) == 4


def test_a_transaction_that_cannot_be_repeated_fails_once(table: Callable[[], None]) -> None:
    def work() -> list[tuple[str]]:
        with transaction.atomic():
            return run_prepared("SELECT name FROM trial WHERE name = %s", ["a"])

    assert work() == [("a",)]
    table()
    with pytest.raises(StalePlan):
        work()
    connection.close_if_unusable_or_obsolete()
    assert work() == [("a",)]


def test_a_deadlock_is_resolved_by_repeating_the_transaction() -> None:
    """Ours takes the second lock that the other holds while that one waits for ours; the server ends one of the two."""
    tries = []
    is_locked = threading.Event()

    def hold_the_second_and_want_the_first() -> None:
        with psycopg.connect(**connection_parameters()) as database:
            database.execute("SET deadlock_timeout = '60s'")
            database.execute("SELECT pg_advisory_xact_lock(2)")
            is_locked.set()
            database.execute("SELECT pg_advisory_xact_lock(1)")

    opponent = threading.Thread(target=hold_the_second_and_want_the_first)

    @in_transaction
    def work() -> None:
        tries.append(1)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL deadlock_timeout = '10ms'")
            cursor.execute("SELECT pg_advisory_xact_lock(1)")
            if len(tries) == 1:
                opponent.start()
                assert is_locked.wait(20)
            cursor.execute("SELECT pg_advisory_xact_lock(2)")

    work()
    opponent.join(20)
    assert len(tries) == 2


@pytest.mark.parametrize(
    ("code", "meaning", "expected"), [("40001", TransactionUndone, TRANSACTION_TRIES), ("42P01", ProgrammingError, 1)]
)
def test_a_transaction_is_repeated_a_few_times_and_a_bug_is_not(code: str, meaning: type[Exception], expected: int) -> None:
    tries = []

    @in_transaction
    def work() -> None:
        tries.append(1)
        fail_with(code)

    with pytest.raises(meaning):
        work()
    assert len(tries) == expected


def test_inside_of_another_transaction_that_one_is_to_be_repeated() -> None:
    tries = []

    @in_transaction
    def inner() -> None:
        tries.append(1)
        fail_with("40001")

    with pytest.raises(TransactionUndone), transaction.atomic():
        inner()
    assert len(tries) == 1
