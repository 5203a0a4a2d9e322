"""Example orders: one click each shows a possible outcome at the simulated exchange."""

from dataclasses import dataclass

from exchange.simulator.magic_instruments import NEVERFILL, OFFLINE, PARTIAL, REFUSE, TIMEOUT
from orders.states import OrderType, Side


@dataclass(frozen=True, slots=True)
class Example:
    """An order to place, and one line about its outcome."""

    text: str
    instrument: str
    type: str = OrderType.MARKET
    side: str = Side.BUY
    quantity: int = 100
    limit_price: str = ""


EXAMPLES = [
    Example("A market order: it fills within a second or two.", "AAPL_2025_03"),
    Example(
        "A limit order: it fills when the price reaches the limit.", "TSLA_2025_06", OrderType.LIMIT, Side.SELL, 50, "250.50"
    ),
    Example("The exchange refuses it: failed at once.", REFUSE),
    Example("The exchange is unavailable for it: retried for 15 minutes.", OFFLINE),
    Example("The exchange accepts it but never answers: still placed exactly once.", TIMEOUT),
    Example("About half of it fills; the rest waits until you cancel it.", PARTIAL),
    Example("It never fills; it waits until you cancel it.", NEVERFILL),
]
