"""Limits of an account under 50 requests at the same moment, over real connections to a real web process."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from devstack import local_install
from testsupport.web_process import Answer, WebProcess

AT_ONCE = 50
Order = dict[str, Any]


@pytest.fixture
def limit(web: WebProcess) -> Iterator[Callable[..., None]]:
    """Sets limits of the account whose token the web process gave us, which has no orders then."""
    with psycopg.connect(local_install.load(web.data_dir).postgres_url, autocommit=True) as database:

        def forget() -> None:
            for table in ("orders_accountlimits", "orders_orderevent", "orders_order"):
                database.execute(f"DELETE FROM {table}")

        def set_limits(**limits: int) -> None:
            forget()
            names, values = ", ".join(limits), ", ".join(str(value) for value in limits.values())
            account = "SELECT id FROM auth_user WHERE username = 'admin'"
            database.execute(f"INSERT INTO orders_accountlimits (account_id, {names}) VALUES (({account}), {values})")

        yield set_limits
        forget()


def at_once(ask: Callable[[int], Answer], count: int = AT_ONCE) -> list[Answer]:
    together = Barrier(count)

    def one(number: int) -> Answer:
        together.wait()
        return ask(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def statuses(answers: list[Answer]) -> dict[int, int]:
    return dict(Counter(answer.status for answer in answers))


def stored(web: WebProcess) -> list[Order]:
    answer = web.ask("GET", "/orders?page_size=500", Authorization=f"Token {web.token}")
    orders: list[Order] = json.loads(answer.text)["results"]
    return orders


def test_never_more_orders_are_open_than_the_account_may_have(web: WebProcess, limit: Callable[..., None]) -> None:
    limit(open_orders=7)
    assert statuses(at_once(lambda _: web.order())) == {202: 7, 422: AT_ONCE - 7}
    assert Counter(order["status"] for order in stored(web)) == {"pending": 7, "failed": AT_ONCE - 7}


def test_batches_do_not_get_around_it(web: WebProcess, limit: Callable[..., None]) -> None:
    limit(open_orders=7)
    batch = [{"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 1}] * 3
    answers = at_once(lambda _: web.ask("POST", "/orders/batch", batch, Authorization=f"Token {web.token}"))
    assert statuses(answers) == {202: 2, 422: AT_ONCE - 2}
    assert len(stored(web)) == 6


def test_never_more_orders_are_taken_within_one_second(web: WebProcess, limit: Callable[..., None]) -> None:
    limit(orders_per_second=5)
    counted = statuses(at_once(lambda _: web.order()))
    assert counted.keys() == {202, 429}
    made = sorted(UUID(order["id"]).int >> 80 for order in stored(web))
    assert len(made) == counted[202] >= 5
    assert all(later - earlier >= 1000 for earlier, later in zip(made, made[5:], strict=False)), "in ms, for any 6 of them"


def test_of_equal_requests_one_is_stored_and_all_get_the_same_answer(web: WebProcess, limit: Callable[..., None]) -> None:
    limit(max_quantity=99)
    own_id = uuid4().hex
    answers = at_once(lambda _: web.order(client_order_id=own_id))
    assert {(answer.status, answer.text, answer.headers["location"]) for answer in answers} == {
        (422, answers[0].text, answers[0].headers["location"])
    }
    assert [order["error_code"] for order in stored(web)] == ["refused_by_limits"]
