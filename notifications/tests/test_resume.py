"""Coming back after an event; `transaction` stands for one that is open while others begin and end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from infrastructure.database.parameters import connection_parameters
from notifications import closings
from notifications.tests.order_changes import accept, many_events, place, token_of
from testsupport.event_writers import INSERT
from testsupport.waiting import wait_until


@pytest.fixture
def transaction(transactional_db: None) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(**connection_parameters()) as connection:
        yield connection


@contextmanager
def orders_locked() -> Iterator[Callable[[], int]]:
    """Nobody can read an order, and so make a message of an event; yields how many threads of the service wait for that."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        " AND application_name = 'lemon_market run_notification_service'"
    )
    with (
        psycopg.connect(**connection_parameters()) as lock,
        psycopg.connect(**connection_parameters(), autocommit=True) as onlooker,
    ):
        lock.execute("LOCK TABLE orders_order IN ACCESS EXCLUSIVE MODE")
        yield lambda: int(onlooker.execute(waiting).fetchall()[0][0])


def ids(events):
    return [event["event_id"] for event in events]


def ids_until(client, event_id):
    """The ids up to that one. Events committed while another transaction was open may come twice, and other tests write too."""
    received = []
    while event_id not in received:
        received += ids(client.events(1))
    return received


def test_what_was_missed_comes_first_and_then_what_happens(service, clients, client, anna, token):
    accept(anna, 3)
    [_, seen, unseen] = ids(client.events(3))
    client.close()
    accept(anna, 2)
    again = clients.subscribe(service.url, token, after=seen)
    assert again.hello["after"] == seen
    [order] = accept(anna)
    place(order)
    events = again.events(5)
    assert events[0]["event_id"] == unseen
    assert [event["type"] for event in events] == ["accepted"] * 4 + ["placed"]
    assert len(set(ids(events))) == 5


def test_only_ones_own_events_are_resumed(service, clients, client, anna, token, chief):
    desk = clients.subscribe(service.url, token_of(chief))
    accept(anna)
    [seen] = ids(client.events(1))
    accept(chief)
    accept(anna)
    assert ids(clients.subscribe(service.url, token, after=seen).events(1)) == ids(client.events(1))
    assert ids(clients.subscribe(service.url, token_of(chief), after=seen).events(2)) == ids(desk.events(3))[1:]


def test_everything_is_there_from_the_beginning(service, clients, client, anna, token):
    accept(anna, 3)
    assert clients.subscribe(service.url, token, after="beginning").events(3) == client.events(3)


def test_a_position_from_before_the_first_event_misses_nothing(service, clients, client, anna, token):
    client.close()
    [order] = accept(anna)
    again = clients.subscribe(service.url, token, after=client.hello["after"])
    assert again.events(1)[0]["order_id"] == str(order.id)


def test_an_event_that_commits_late_reaches_who_is_connected(client, anna, transaction):
    [order] = accept(anna)
    client.events(1)
    transaction.execute(INSERT, ["late", order.id, anna.pk])
    accept(anna)
    [early] = client.events(1)
    transaction.commit()
    assert ids(client.events(1)) == ["late"]
    accept(anna)
    # Neither comes again.
    assert client.events(1)[0]["event_id"] not in {"late", early["event_id"]}


def test_an_event_that_commits_late_reaches_who_comes_back(service, clients, client, anna, token, transaction):
    [order] = accept(anna)
    [accepted] = client.events(1)
    transaction.execute(INSERT, ["late", order.id, anna.pk])
    place(order)
    [placed] = client.events(1)
    assert placed["type"] == "placed"
    client.close()
    transaction.commit()
    again = clients.subscribe(service.url, token, after=placed["event_id"])
    assert set(ids_until(again, "late")) <= {"late", accepted["event_id"], placed["event_id"]}


def test_an_event_that_commits_after_the_return_comes_too(service, clients, client, anna, token, transaction):
    [order] = accept(anna)
    [accepted] = client.events(1)
    transaction.execute(INSERT, ["late", order.id, anna.pk])
    place(order)
    [placed] = client.events(1)
    client.close()
    again = clients.subscribe(service.url, token, after=placed["event_id"])
    fresh = clients.subscribe(service.url, token)
    transaction.commit()
    assert set(ids_until(again, "late")) <= {"late", accepted["event_id"], placed["event_id"]}
    assert ids(fresh.events(1)) == ["late"]


def test_an_event_that_is_rolled_back_never_comes(client, anna, transaction):
    [order] = accept(anna)
    client.events(1)
    transaction.execute(INSERT, ["never", order.id, anna.pk])
    transaction.rollback()
    place(order)
    assert client.events(1)[0]["type"] == "placed"


def test_a_long_history_comes_in_order_with_what_happens_meanwhile(service, clients, client, anna, token):
    accept(anna)
    [first] = ids(client.events(1))
    client.close()
    many_events(anna, 5000)
    again = clients.subscribe(service.url, token, after=first)
    [order] = accept(anna)
    # The order of many_events, its events, and the new one.
    events = again.events(5002)
    assert ids(events)[1:5001] == [f"bulk-{number}" for number in range(1, 5001)]
    assert events[-1]["order_id"] == str(order.id)
    assert len(set(ids(events))) == 5002


def test_who_was_away_for_too_long_is_told_to_start_anew(service, clients, client, anna, token):
    accept(anna)
    [first] = ids(client.events(1))
    client.close()
    many_events(anna, 100_001)
    assert clients.connect(service.url, token, after=first).closing() == closings.RESUME_TOO_FAR
    assert clients.connect(service.url, token, after="beginning").closing() == closings.RESUME_TOO_FAR
    again = clients.subscribe(service.url, token, after="bulk-100000")
    # What was committed while somebody else was writing may come a second time.
    assert "bulk-100001" in (again.events(1)[0]["event_id"] for _ in range(3))


def test_handshakes_do_not_wait_for_those_who_come_back(service, clients, anna, token, chief):
    """Whose reads take long, one at a time of each account; nobody is turned away for it."""
    accept(anna, 3)
    other = token_of(chief)
    with orders_locked() as waiting:
        returning = [clients.subscribe(service.url, token, after="beginning") for _ in range(6)]
        wait_until(lambda: waiting() == 1, what="one of them reads")
        assert clients.subscribe(service.url, other).is_alive()
        clients.subscribe(service.url, other, after="beginning")
        wait_until(lambda: waiting() == 2, what="another account reads beside it")
    assert [len(client.events(3)) for client in returning] == [3] * 6


def test_who_leaves_in_the_middle_of_a_read_gets_no_second_one_beside_it(service, clients, anna, token, chief):
    accept(anna, 3)
    with orders_locked() as waiting:
        for _ in range(4):
            returning = clients.subscribe(service.url, token, after="beginning")
            wait_until(waiting, what="one of them reads")
            returning.close()
        assert clients.subscribe(service.url, token_of(chief)).is_alive()
        assert waiting() == 1
    assert len(clients.subscribe(service.url, token, after="beginning").events(3)) == 3
