"""Requests that arrive at the same time, over real connections to a real server."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from testsupport.api_calls import MARKET, stored, token_for

pytestmark = pytest.mark.django_db(transaction=True)
Answers = list[tuple[int, Any]]


@pytest.fixture
def at_once(live_server: Any, account: Any) -> Any:
    """Posts each body over a connection of its own, all at the same moment; returns status and JSON of each."""
    token, address = token_for(account), urlsplit(live_server.url).netloc

    def post_at_once(path: str, bodies: list[Any]) -> Answers:
        together = threading.Barrier(len(bodies))

        def post_one(body: Any) -> tuple[int, Any]:
            server = HTTPConnection(address, timeout=30)
            server.connect()
            together.wait()
            server.request(
                "POST", path, json.dumps(body), {"Content-Type": "application/json", "Authorization": f"Token {token}"}
            )
            answer = server.getresponse()
            result = answer.status, json.load(answer)
            server.close()
            return result

        with ThreadPoolExecutor(len(bodies)) as pool:
            return list(pool.map(post_one, bodies))

    return post_at_once


def test_of_twenty_equal_requests_one_is_accepted_and_all_name_the_same_order(at_once: Any) -> None:
    answers = at_once("/orders", [MARKET | {"client_order_id": "c1"}] * 20)
    assert sorted(status for status, _ in answers) == [200] * 19 + [202]
    assert len({order["id"] for _, order in answers}) == 1
    assert stored() == {"orders": 1, "events": 1, "wake_ups": 1}


def test_of_twenty_requests_with_one_id_and_different_terms_one_is_accepted(at_once: Any) -> None:
    answers = at_once("/orders", [MARKET | {"client_order_id": "c1", "quantity": number} for number in range(1, 21)])
    assert sorted(status for status, _ in answers) == [202] + [409] * 19
    assert {tuple(problem) for status, problem in answers if status == 409} == {("client_order_id",)}
    assert stored() == {"orders": 1, "events": 1, "wake_ups": 1}


@pytest.fixture
def slow_inserts(transactional_db: None) -> Iterator[None]:
    """Each order takes the database a while, so that transactions that start together are sure to meet in the middle."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;"
            "CREATE TRIGGER dawdle BEFORE INSERT ON orders_order FOR EACH ROW EXECUTE FUNCTION dawdle()"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER dawdle ON orders_order; DROP FUNCTION dawdle()")


@pytest.mark.usefixtures("slow_inserts")
def test_batches_with_the_same_ids_in_opposite_order_do_not_lock_each_other_out(at_once: Any) -> None:
    batch = [MARKET | {"client_order_id": f"c{number}"} for number in range(10)]
    answers = at_once("/orders/batch", [batch, batch[::-1]] * 2)
    assert sorted(status for status, _ in answers) == [200] * 3 + [202]
    assert len({order["id"] for _, orders in answers for order in orders}) == 10
    assert stored() == {"orders": 10, "events": 10, "wake_ups": 1}


def test_of_batches_that_overlap_one_is_stored_as_a_whole(at_once: Any) -> None:
    batches = [[MARKET | {"client_order_id": own_id} for own_id in ids] for ids in (["a", "b"], ["b", "c"], ["c", "a"])]
    answers = at_once("/orders/batch", batches)
    # Each pair shares an id, so that whoever comes first shuts out both of the others.
    assert sorted(status for status, _ in answers) == [202, 409, 409]
    assert stored() == {"orders": 2, "events": 2, "wake_ups": 1}
