"""The simulated exchange's market with a clock of the test's own."""

from typing import Any

from exchange.reports import ReportType
from exchange.simulator.book import Book, BookOrder, Report
from exchange.simulator.faults import Faults
from exchange.simulator.market import Market
from exchange.simulator.placements import ReceivedPlacement, Terms
from exchange.tests.scenery import make_placement


class Trading:
    """A market on a clock that moves only when told to. `reports` is everything that happened."""

    def __init__(self, seed: int = 1, **faults: float) -> None:
        self.now = 1_000_000.0
        self.book = Book()
        self.market = Market(self.book, Faults(**({"latency": 0.5} | faults)), seed)
        self.market.begin_session("session")
        self.count = 0

    @property
    def reports(self) -> list[Report]:
        return self.market.reports

    def take(self, **changes: Any) -> BookOrder:
        self.count += 1
        terms = Terms("demo", "market", "buy", "AAPL_2025_03", None, 10)._replace(**changes)
        placement = ReceivedPlacement(f"order-{self.count}", terms, make_placement().valid_until)
        return self.market.take(placement, self.now, self.market.faults.latency)

    def take_limit(self, limit_cents: int, **changes: Any) -> BookOrder:
        return self.take(type="limit", limit_cents=limit_cents, **changes)

    def run(self, seconds: float) -> int:
        """Let time pass from one due moment to the next; returns how many there were."""
        end, moments = self.now + seconds, 0
        while (due := self.market.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.market.advance(self.now)
            moments += 1
        self.now = end
        return moments

    def types(self, order: BookOrder) -> list[ReportType]:
        return [report.type for report in self.reports if report.order is order]

    def executions(self, order: BookOrder) -> list[tuple[int, int]]:
        """(quantity, price in cents) of each fill."""
        return [(change[3], change[4]) for change in self.market.changes if change[:2] == ["report", order.number] and change[3]]
