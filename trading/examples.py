"""Orders that show in one click what can become of an order at the simulated exchange."""

from dataclasses import dataclass

from exchange.simulator.placements import NEVERFILL, OFFLINE, PARTIAL, REFUSE, TIMEOUT
from orders.states import OrderType, Side


@dataclass(frozen=True, slots=True)
class Example:
    """An order to place, and what will become of it in one line."""

    text: str
    instrument: str
    type: str = OrderType.MARKET
    side: str = Side.BUY
    quantity: int = 100
    limit_price: str = ""


EXAMPLES = [
    Example("A market order: it fills within a second or two.", "AAPL_2025_03"),
    Example("A limit order: it fills when the price gets there.", "TSLA_2025_06", OrderType.LIMIT, Side.SELL, 50, "250.50"),
    Example("The exchange refuses it: failed at once.", REFUSE),
    Example("The exchange is never available for it: retried for 15 minutes.", OFFLINE),
    Example("The exchange takes it and never answers: placed once all the same.", TIMEOUT),
    Example("About half of it fills; the rest waits until you cancel it.", PARTIAL),
    Example("Nothing of it fills; it waits until you cancel it.", NEVERFILL),
]
