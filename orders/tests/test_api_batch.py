from typing import Any

import pytest
from django_q.models import OrmQ

from orders.models import Order, OrderEvent
from testsupport.api_calls import LIMIT, MARKET, NOTHING, client_for, post, stored

BATCH = "/orders/batch"
WRONG_LENGTH = {"detail": "The body must be a list of 1 to 1000 orders."}
PASSED = {"expires_at": ["This time has passed."]}
LONG_AGO = "2020-01-31T15:30:00Z"


@pytest.fixture
def client(account: Any) -> Any:
    return client_for(account)


def named(*own_ids: str, **terms: Any) -> list[dict[str, Any]]:
    return [MARKET | {"client_order_id": own_id} | terms for own_id in own_ids]


def conflict(own_id: str, reason: str = "exists with other terms") -> dict[str, list[str]]:
    return {"client_order_id": [f"An order with client_order_id '{own_id}' {reason}."]}


def test_a_batch_is_answered_with_its_orders_in_the_same_sequence(client: Any) -> None:
    answer = post(client, [LIMIT, *named("z", "a", "m"), MARKET], BATCH)
    assert answer.status_code == 202
    assert [order["type"] for order in answer.json()] == ["limit", "market", "market", "market", "market"]
    assert [order["client_order_id"] for order in answer.json()][1:4] == ["z", "a", "m"]
    for order in answer.json():
        shown = client.get(f"/orders/{order['id']}").json()
        assert [event["type"] for event in shown.pop("history")] == ["accepted"]
        assert shown == order


def test_a_batch_is_stored_with_an_event_for_each_order_and_one_wake_up(client: Any) -> None:
    assert post(client, [MARKET] * 3, BATCH).status_code == 202
    assert stored() == {"orders": 3, "events": 3, "wake_ups": 1}
    assert set(OrderEvent.objects.values_list("order_id", flat=True)) == set(Order.objects.values_list("id", flat=True))


def test_a_batch_may_hold_1000_orders(client: Any) -> None:
    answer = post(client, [MARKET] * 1000, BATCH)
    assert (answer.status_code, len(answer.json())) == (202, 1000)
    assert stored() == {"orders": 1000, "events": 1000, "wake_ups": 1}


@pytest.mark.parametrize("body", [[], [MARKET] * 1001, {}, MARKET, "null", '"x"', "1", ""], ids=lambda body: str(body)[:20])
def test_a_batch_is_a_list_of_1_to_1000_orders(client: Any, body: Any) -> None:
    answer = post(client, body, BATCH)
    assert (answer.status_code, answer.json()) == (400, WRONG_LENGTH)
    assert stored() == NOTHING


def test_one_bad_order_keeps_the_others_from_being_stored(client: Any) -> None:
    answer = post(client, [MARKET, MARKET | {"quantity": 0}, LIMIT, None, [], MARKET | {"colour": "red"}], BATCH)
    assert answer.status_code == 400
    problems = answer.json()
    assert set(problems) == {"1", "3", "4", "5"}
    assert problems["1"] == {"quantity": ["Ensure this value is greater than or equal to 1."]}
    assert problems["3"] == {"non_field_errors": ["No data provided"]}
    assert problems["4"] == {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}
    assert list(problems["5"]) == ["colour"]
    assert stored() == NOTHING


def test_expired_orders_are_named_by_index(client: Any) -> None:
    answer = post(client, [MARKET, MARKET | {"expires_at": LONG_AGO}, LIMIT | {"expires_at": LONG_AGO}], BATCH)
    assert (answer.status_code, answer.json()) == (400, {"1": PASSED, "2": PASSED})
    assert stored() == NOTHING


def test_an_id_twice_in_one_batch_is_refused_even_with_the_same_terms(client: Any) -> None:
    answer = post(client, [*named("a", "b", "a"), MARKET, *named("b", "a")], BATCH)
    assert answer.status_code == 400
    assert answer.json() == {
        "2": {"client_order_id": ["The same as in order 0."]},
        "4": {"client_order_id": ["The same as in order 1."]},
        "5": {"client_order_id": ["The same as in order 0."]},
    }
    assert stored() == NOTHING


def test_a_repeated_batch_is_answered_with_the_orders_that_exist(client: Any) -> None:
    first = post(client, named("c", "a", "b"), BATCH)
    before = stored()
    again = post(client, named("c", "a", "b"), BATCH)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.json() == first.json()
    in_another_sequence = post(client, named("b", "c", "a"), BATCH)
    assert in_another_sequence.status_code == 200
    assert [order["client_order_id"] for order in in_another_sequence.json()] == ["b", "c", "a"]
    assert stored() == before


def test_orders_that_came_one_by_one_may_be_repeated_as_a_batch(client: Any) -> None:
    for order in named("a", "b"):
        post(client, order)
    assert post(client, named("b", "a"), BATCH).status_code == 200
    assert stored() == {"orders": 2, "events": 2, "wake_ups": 2}


def test_a_batch_of_which_only_some_are_known_is_a_conflict_that_names_those(client: Any) -> None:
    post(client, named("b", "d"), BATCH)
    before = stored()
    answer = post(client, [*named("a", "b", "c", "d"), MARKET], BATCH)
    assert answer.status_code == 409
    reason = "exists, but others of the batch do not"
    assert answer.json() == {"1": conflict("b", reason), "3": conflict("d", reason)}
    assert stored() == before


def test_known_orders_with_other_terms_are_a_conflict_that_names_those(client: Any) -> None:
    post(client, named("a", "b", "c"), BATCH)
    before = stored()
    answer = post(client, [*named("a"), *named("b", quantity=7), *named("c"), *named("d")], BATCH)
    assert (answer.status_code, answer.json()) == (409, {"1": conflict("b")})
    answer = post(client, named("a", "b", "c", side="sell"), BATCH)
    assert (answer.status_code, answer.json()) == (409, {"0": conflict("a"), "1": conflict("b"), "2": conflict("c")})
    assert stored() == before


def test_ids_of_another_account_are_not_known(client: Any, django_user_model: Any) -> None:
    post(client, named("a", "b"), BATCH)
    bert = client_for(django_user_model.objects.create_user("bert"))
    assert post(bert, named("b", "a", side="sell"), BATCH).status_code == 202
    assert stored() == {"orders": 4, "events": 4, "wake_ups": 2}


def test_a_batch_takes_no_idempotency_key(client: Any) -> None:
    answer = post(client, named("a"), BATCH, **{"Idempotency-Key": "k"})
    assert answer.status_code == 400
    assert answer.json() == {"detail": "A batch does not accept an Idempotency-Key; give each order its own client_order_id."}
    assert stored() == NOTHING


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_cannot_be_stored_leaves_nothing(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orders.wakeups.django_q.task", lambda: None)
    client.raise_request_exception = False
    assert post(client, [MARKET] * 3, BATCH).status_code == 500
    assert stored() == NOTHING


def test_a_name_twice_in_one_order_of_a_batch_is_refused(client: Any) -> None:
    answer = post(client, '[{"quantity": 1, "quantity": 2}]', BATCH)
    assert (answer.status_code, answer.json()) == (400, {"quantity": ["This field is given more than once."]})
    assert stored() == NOTHING


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_a_batch_can_only_be_posted(client: Any, method: str) -> None:
    assert getattr(client, method)(BATCH).status_code == 405
    assert not OrmQ.objects.exists()
