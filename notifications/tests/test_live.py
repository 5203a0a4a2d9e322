import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
from django.db import connection

from infrastructure.database.parameters import connection_parameters
from notifications.closings import DATABASE_UNAVAILABLE
from notifications.tests.order_changes import accept, change, event_types, many_events, place
from orders import lifecycle
from orders.models import OrderEvent
from orders.states import ErrorCode
from testsupport.waiting import wait_until

# Everybody's connections but one's own.
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def test_the_first_message_says_who_one_is_and_where_one_stands(service, clients, anna, token):
    hello = clients.subscribe(service.url, token).hello
    assert hello == {"type": "hello", "account": "anna", "sees_all": False, "after": "beginning", "heartbeat_s": 0.2}
    accept(anna)
    newest = OrderEvent.objects.get().event_id
    assert clients.subscribe(service.url, token).hello["after"] == newest


def test_nothing_comes_that_happened_before(service, clients, anna, token):
    accept(anna, 3)
    client = clients.subscribe(service.url, token)
    [order] = accept(anna)
    assert client.events(1)[0]["order_id"] == str(order.id)


def test_a_message_says_what_happened_and_how_the_order_is_now(client, anna):
    [order] = accept(anna, client_order_id="mine 1")
    client.events(1)
    now = datetime(2030, 1, 31, 15, 30, 0, 123456, tzinfo=UTC)
    change(order, lifecycle.refused, "no \u20ac, no \U0001f34b", now)
    [message] = client.events(1)
    problem = {
        "error_code": ErrorCode.REFUSED_BY_EXCHANGE.value,
        "error_message": "The exchange refused the order: no \u20ac, no \U0001f34b",
    }
    assert message == {
        "event_id": order.events.get(type="failed").event_id,
        "type": "failed",
        "occurred_at": "2030-01-31T15:30:00.123456Z",
        "order_id": str(order.id),
        "client_order_id": "mine 1",
        "account": "anna",
        "data": problem,
        "order": {
            "type": "market",
            "side": "buy",
            "instrument": "AAPL_2025_03",
            "limit_price": None,
            "quantity": 100,
            "status": "failed",
            "execution_status": None,
            "filled_quantity": 0,
            "average_price": None,
            **problem,
        },
    }


def test_heartbeats_come_while_nothing_happens_and_a_ping_is_answered(client):
    beats = [client.next() for _ in range(2)]
    assert {beat["type"] for beat in beats} == {"heartbeat"}
    [earlier, later] = [datetime.fromisoformat(beat["at"]) for beat in beats]
    assert (later - earlier).total_seconds() > 0.1
    client.send('{"type": "ping"}')
    assert client.next() == {"type": "pong"}


def test_fifty_clients_get_the_same_messages(service, clients, anna, token):
    with ThreadPoolExecutor(10) as threads:
        crowd = list(threads.map(lambda _: clients.subscribe(service.url, token), range(50)))
    accept(anna, 20)
    [first, *others] = [client.events(20) for client in crowd]
    assert all(events == first for events in others)


def test_two_services_tell_the_same(service, trial_service, clients, anna, token):
    both = [clients.subscribe(url, token) for url in (service.url, trial_service.url)]
    for _ in range(3):
        accept(anna, 3)
    [one, other] = [client.events(9) for client in both]
    assert one == other


def test_a_burst_does_not_cut_off_those_who_read(service, clients, client, anna):
    many_events(anna, 5_000, padding=1000)
    assert len({event["event_id"] for event in client.events(5_001)}) == 5_001


def test_an_event_that_nobody_rang_for_is_noticed_too(client, anna):
    [order] = accept(anna)
    client.events(1)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders_orderevent (event_id, order_id, account_id, type, data, occurred_at, recorded_at)"
            " VALUES ('quiet', %s, %s, 'retrying', '{}', now(), now())",
            [order.id, anna.pk],
        )
    assert client.events(1)[0]["event_id"] == "quiet"


def test_cut_database_connections_lose_nothing(service, client, anna):
    for _ in range(3):
        with connection.cursor() as cursor:
            cursor.execute(CUT)
        [order] = accept(anna)
        place(order)
        assert event_types(client.events(2)) == ["accepted", "placed"]


@pytest.fixture
def other_database(transactional_db):
    """A connection to another database of the same server."""
    with psycopg.connect(**connection_parameters() | {"dbname": "postgres"}, autocommit=True) as other:
        yield other
        other.execute(f"ALTER DATABASE {connection.settings_dict['NAME']} ALLOW_CONNECTIONS true")


def test_what_happens_while_the_database_cannot_be_reached_comes_later(
    service, clients, anna, token, other_database, events_from
):
    client = clients.subscribe(service.url, token)
    said = service.said()
    name = connection.settings_dict["NAME"]
    other_database.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    [mine] = connection.cursor().execute("SELECT pg_backend_pid()").fetchone()
    other_database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s", [name, mine]
    )
    orders = accept(anna, 3)
    assert clients.connect(service.url, token).closing() == DATABASE_UNAVAILABLE
    # With Kafka the live stream itself does not need it.
    noticed = "doing='serve client'" if events_from.is_kafka else "doing='live events'"
    wait_until(lambda: noticed in service.said().removeprefix(said), within_s=10, what="the service has noticed")
    assert client.is_alive()
    other_database.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert [event["order_id"] for event in client.events(3)] == [str(order.id) for order in orders]


def test_a_killed_service_is_resumed_without_a_gap(mortal_service, clients, anna, token):
    client = clients.subscribe(mortal_service.url, token)
    accept(anna)
    [seen] = client.events(1)
    mortal_service.stop(signal.SIGKILL)
    assert client.closing()[0] == 1006
    missed = accept(anna, 3)
    mortal_service.start()
    client = clients.subscribe(mortal_service.url, token, after=seen["event_id"])
    [new] = accept(anna)
    assert [event["order_id"] for event in client.events(4)] == [str(order.id) for order in [*missed, new]]
