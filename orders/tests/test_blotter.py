"""What the server has to do with the blotter; how it moves is tried in a browser."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orders import lifecycle
from orders.admin import blotter
from orders.models import Order
from orders.states import TERMINAL_EXECUTION, ExecutionStatus, Status
from orders.storage import save_changes

PATHS = ["/admin/blotter/", "/admin/blotter/latest"]


@pytest.mark.parametrize("path", PATHS)
def test_who_may_see_orders_sees_it(viewer: Client, path: str) -> None:
    assert viewer.get(path).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_staff_who_may_not_see_orders_are_refused(staff: Callable[..., Client], path: str) -> None:
    assert staff().get(path).status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_an_account_is_sent_to_the_login_of_staff(account: Any, client: Client, path: str) -> None:
    client.force_login(account)
    assert client.get(path).headers["Location"].startswith("/admin/login/")


def test_it_begins_with_the_last_event_of_each_of_the_newest_orders(
    viewer: Client, accept: Callable[..., Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blotter, "NEWEST", 2)
    accept()
    refused, accepted = accept(), accept()
    save_changes([refused], lifecycle.refused(refused, "no", timezone.now()))
    events = viewer.get("/admin/blotter/latest").json()
    assert [(event["order_id"], event["type"]) for event in events] == [
        (str(accepted.id), "accepted"),
        (str(refused.id), "failed"),
    ]
    assert events[0]["account"] == "anna"


def test_it_can_be_filtered_by_every_state_that_an_order_shows() -> None:
    assert set(ExecutionStatus) > TERMINAL_EXECUTION
    shown = (set(Status) - {Status.COMPLETED}) | set(ExecutionStatus)
    assert {state.value for state in blotter.STATES} == {state.value for state in shown}
