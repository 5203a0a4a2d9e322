"""Reports of the exchange, made by a test, and what became of an order."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from exchange.reports import ExecutionReport, ReportType
from orders.models import Order
from orders.states import ExecutionStatus, Status

SESSION = "s1"


def report(order: Order, sequence: int, type: ReportType, quantity: int | None = None, price: str = "10.00", **more: Any) -> Any:
    filled = {
        "last_quantity": quantity,
        "last_price": Decimal(price) if quantity else None,
        "filled_quantity": more.pop("total", quantity or 0),
        "average_price": Decimal(more.pop("average", price)) if quantity else None,
    }
    return ExecutionReport(
        sequence=sequence,
        execution_id=f"e{sequence}",
        client_order_id=str(order.id),
        exchange_order_id=more.pop("exchange_order_id", "X1"),
        account=more.pop("account", str(order.account_id)),
        type=type,
        reason=more.pop("reason", None),
        occurred_at=datetime(2020, 1, 1, 12, 0, sequence % 60, tzinfo=UTC),
        raw='{"kept": true}',
        **filled,
    )


def three_reports(order: Order) -> list[ExecutionReport]:
    return [
        report(order, 1, ReportType.NEW),
        report(order, 2, ReportType.PARTIALLY_FILLED, 40, "10.00"),
        report(order, 3, ReportType.FILLED, 60, "11.00", total=100, average="10.60"),
    ]


def totals(order: Order) -> tuple[Any, ...]:
    order.refresh_from_db()
    return order.status, order.execution_status, order.filled_quantity, order.filled_value, order.average_price


FILLED = (Status.COMPLETED, ExecutionStatus.FILLED, 100, Decimal(1060), Decimal("10.6"))
