"""What a halt covers is decided in three places, for one order, for rows and for a request. They must agree."""

from typing import Any

import pytest

from orders.models import Halt, Order
from orders.order_entry.service import NewOrder, accept_orders
from orders.risk.pre_trade import safety_of
from orders.risk.switches import halt_trading

pytestmark = pytest.mark.django_db
INSTRUMENTS = ["AAPL_2025_03", "TSLA_2025_06"]


def test_a_halt_covers_the_same_orders_wherever_it_is_asked(django_user_model: Any) -> None:
    accounts = [django_user_model.objects.create_user(name) for name in ("ann", "bob")]
    requested = [NewOrder("market", "buy", instrument, 10) for instrument in INSTRUMENTS]
    orders = [order for account in accounts for order in accept_orders(account.pk, requested).orders]
    scopes: list[dict[str, Any]] = [{}, {"account": accounts[0]}, {"instrument": INSTRUMENTS[0]}]
    halts = [halt_trading("dora", "a trial", **scope) for scope in scopes]
    covered = {halt.pk: [order.id for order in orders if halt.covers(order.account_id, order.instrument)] for halt in halts}
    assert [len(ids) for ids in covered.values()] == [4, 2, 2]
    assert {halt.pk: rows_of(halt) for halt in halts} == covered
    in_force = {order.id: {halt.pk for halt in safety_of(order.account_id, [order.instrument]).halts} for order in orders}
    assert in_force == {order.id: {pk for pk, ids in covered.items() if order.id in ids} for order in orders}


def rows_of(halt: Halt) -> list[Any]:
    return list(Order.objects.covered_by(halt).order_by("id").values_list("id", flat=True))
