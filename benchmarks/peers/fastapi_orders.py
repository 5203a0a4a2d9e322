"""What the three FastAPI peers share: the original brief's validation, its table, and the message to the exchange."""

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator
from sqlalchemy import CheckConstraint, Numeric, String, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# postgresql://user:password@host:port/name
DATABASE = os.environ["PEER_DATABASE"]
EXCHANGE_ORDERS = os.environ["PEER_EXCHANGE"] + "/orders"
SEND_TIMEOUT_S = 5.0
MAX_RETRIES = 3


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class OrderSide(StrEnum):
    BUY = "buy"
    SELL = "sell"


class NewOrder(BaseModel):
    type: OrderType
    side: OrderSide
    instrument: str = Field(min_length=12, max_length=12)
    limit_price: Decimal | None = Field(None, gt=0, max_digits=19, decimal_places=2)
    quantity: int = Field(gt=0)

    @model_validator(mode="after")
    def limit_price_belongs_to_limit_orders(self) -> Self:
        if (self.type is OrderType.LIMIT) != (self.limit_price is not None):
            raise ValueError("a limit order has a limit_price, a market order has none")
        return self


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint("quantity > 0"),
        CheckConstraint("(type = 'market') = (limit_price IS NULL)", name="market_order_no_price"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    type: Mapped[str] = mapped_column(String(6))
    side: Mapped[str] = mapped_column(String(4))
    instrument: Mapped[str] = mapped_column(String(12))
    limit_price: Mapped[Decimal | None] = mapped_column(Numeric(19, 2))
    quantity: Mapped[int]
    status: Mapped[str] = mapped_column(String(20), default="pending")
    error_message: Mapped[str | None] = mapped_column(Text)


def answer(order: Order) -> dict[str, Any]:
    """The body of the 202."""
    price = None if order.limit_price is None else str(order.limit_price)
    return {
        "id": order.id,
        "type": order.type,
        "side": order.side,
        "instrument": order.instrument,
        "limit_price": price,
        "quantity": order.quantity,
        "status": order.status,
    }


def placement(order: Order) -> dict[str, Any]:
    """The body of the exchange's POST /orders."""
    return {
        "client_order_id": str(order.id),
        "account": "bench",
        "type": order.type,
        "side": order.side,
        "instrument": order.instrument,
        "limit_price": None if order.limit_price is None else str(order.limit_price),
        "quantity": order.quantity,
        "valid_until": (datetime.now(UTC) + timedelta(seconds=SEND_TIMEOUT_S)).isoformat(),
    }
