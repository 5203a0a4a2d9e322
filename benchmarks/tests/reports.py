"""Makes reports of the exchange about stored orders."""

from decimal import Decimal

from django.utils import timezone

from exchange.reports import ExecutionReport, ReportType
from orders.models import Order
from orders.states import ExecutionStatus


def open_orders(count: int) -> list[Order]:
    orders = list(Order.objects.filter(execution_status=ExecutionStatus.NEW).order_by("id")[:count])
    assert len(orders) == count
    return orders


def fill_report(sequence: int, order: Order) -> ExecutionReport:
    assert order.exchange_order_id is not None
    return ExecutionReport(
        sequence=sequence,
        execution_id=f"E{sequence}",
        client_order_id=str(order.id),
        exchange_order_id=order.exchange_order_id,
        account=str(order.account_id),
        type=ReportType.PARTIALLY_FILLED,
        last_quantity=1,
        last_price=Decimal(10),
        filled_quantity=1,
        average_price=Decimal(10),
        reason=None,
        occurred_at=timezone.now(),
    )
