from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from orders.event_data import HeldData
from orders.models import Order, OrderEvent, new_event
from orders.storage import MUTABLE_COLUMNS, save_changes

Accept = Callable[..., Order]
# All that is said when an order is accepted.
TERMS = {"id", "account", "client_order_id", "created_at", "type", "side", "instrument", "limit_price", "quantity", "expires_at"}


def test_every_column_but_the_terms_may_change(accept: Accept) -> None:
    assert {field.name for field in Order._meta.concrete_fields} == TERMS | set(MUTABLE_COLUMNS)
    order = accept()
    order.error_message, order.updated_at = "quotes ' \" and \\ and ü", timezone.now()
    save_changes([order], [])
    assert Order.objects.values().get() == {name: value for name, value in vars(order).items() if name != "_state"}


@pytest.mark.parametrize("value", [2**64, "\ud800"])
def test_what_no_row_can_hold_is_refused_by_its_value(accept: Accept, value: Any) -> None:
    order = accept()
    order.exchange_order_id = value
    with pytest.raises(ValueError, match=r"64-bit|UTF-8"):
        save_changes([order], [new_event(order, timezone.now(), HeldData(reason="a trial"))])
    assert OrderEvent.objects.count() == 1
