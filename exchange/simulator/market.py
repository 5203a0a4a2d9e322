"""What happens to the orders of the simulated exchange over time: acknowledged, filled, cancelled, rejected, expired.

Time is always an argument (Unix seconds), and nothing here waits or does input or output: the market's owner calls
`advance` at `next_due`, writes `changes` to the journal and sends `reports` to the feed.
"""

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random

from exchange.reports import FILLS, OrderStatus, ReportType
from exchange.simulator.book import Book, BookOrder, Change, Report
from exchange.simulator.faults import Faults
from exchange.simulator.lies import Fields, draw_for, lying_answer, lying_report
from exchange.simulator.magic_instruments import MAGIC_INSTRUMENTS, NEVERFILL, PARTIAL
from exchange.simulator.placements import ReceivedPlacement
from exchange.simulator.prices import PriceWalk

# An instrument without trades moves more and more slowly, until a step takes this many times the usual interval, so that old
# orders far from the market price cost nothing.
SLOWEST_WALK = 25
# Without latency, fills follow within milliseconds; prices need not move that often.
SHORTEST_WALK_S = 0.02

FILLS_AND_ENDS = FILLS | {ReportType.CANCELED, ReportType.REJECTED, ReportType.EXPIRED}


class Instrument:
    """The price of one instrument and its resting limit orders, the best first."""

    __slots__ = ("buys", "is_moving", "quiet_steps", "sells", "walk")

    def __init__(self, walk: PriceWalk) -> None:
        self.walk = walk
        self.buys: list[tuple[int, int, BookOrder]] = []
        self.sells: list[tuple[int, int, BookOrder]] = []
        self.quiet_steps = 0
        self.is_moving = False

    def rest(self, order: BookOrder) -> None:
        """Queue an order by price, then by arrival."""
        limit_cents = order.terms.limit_cents or 0
        if order.terms.side == "buy":
            heapq.heappush(self.buys, (-limit_cents, order.number, order))
        else:
            heapq.heappush(self.sells, (limit_cents, order.number, order))

    def take_crossed(self) -> list[BookOrder]:
        """Remove and return every open order whose limit the price has reached; drop closed ones on the way."""
        crossed = []
        for heap, price in ((self.buys, -self.walk.cents), (self.sells, self.walk.cents)):
            while heap and (heap[0][0] <= price or not heap[0][2].is_open):
                order = heapq.heappop(heap)[2]
                if order.is_open:
                    crossed.append(order)
        return crossed

    def is_empty(self) -> bool:
        return not self.buys and not self.sells


class Market:
    """Executes what is due. `changes` and `reports` collect the results; their reader empties them."""

    def __init__(self, book: Book, faults: Faults, seed: int) -> None:
        self.faults = faults
        # Decides everything that is left to chance, except for the price walks.
        self.dice = Random(seed)  # noqa: S311 (a seed must reproduce the same fills and faults)
        self.changes: list[Change] = []
        self.reports: list[Report] = []
        self._book = book
        self._seed = seed
        self._instruments: dict[str, Instrument] = {}
        # Heap of (due, tie-breaker, what to do); the action gets the time at which it is executed.
        self._agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self._ticket = count()

    def resume(self, now: float) -> None:
        """Resume every open order of a book that was rebuilt."""
        for order in self._book.open_orders():
            if order.status is OrderStatus.PENDING_NEW:
                self._at(now, partial(self._acknowledge, order))
            else:
                self._begin_life(order, now)

    def next_due(self) -> float | None:
        """When `advance` should be called next; None when nothing is planned."""
        return self._agenda[0][0] if self._agenda else None

    def advance(self, now: float) -> None:
        """Execute everything that is due."""
        while self._agenda and self._agenda[0][0] <= now:
            heapq.heappop(self._agenda)[2](now)

    def take(self, placement: ReceivedPlacement, now: float, acknowledge_after_s: float) -> BookOrder:
        """Enter a new order into the book as pending_new. From now on it is at the exchange, whatever its sender is told."""
        self._record(["order", placement.client_order_id, now, *placement.terms])
        order = self._book.in_order[-1]
        self._at(now + acknowledge_after_s, partial(self._acknowledge, order))
        if acknowledge_after_s == 0:
            self.advance(now)
        return order

    def count_repeat(self, order: BookOrder) -> None:
        """Count a placement with a known id."""
        self._record(["repeat", order.number])

    def request_cancel(self, order: BookOrder, now: float) -> None:
        """Cancel an open order after `cancel_latency`, unless it is filled by then. A second request changes nothing."""
        if order.is_cancel_requested:
            return
        self._record(["cancel", order.number])
        if order.status is not OrderStatus.PENDING_NEW:
            self._at(now + self.faults.cancel_latency, partial(self._cancel, order))

    def begin_session(self, session_id: str) -> None:
        """Start a new feed session, as if the feed's state was lost: the book stays, sequences start at 1."""
        self._record(["session", session_id])

    def contradict(self, order: BookOrder) -> Fields:
        """The false fields in an answer to a look-up of this order; empty unless it is one of those that are lied about."""
        rate = self._lie_rate(self.faults.look_up_lie_rate, order)
        if draw_for(self._seed, order.client_order_id, "whether") >= rate:
            return {}
        self._record(["look_up_lie", order.number])
        return lying_answer(order, draw_for(self._seed, order.client_order_id, "what"))

    def _lie_rate(self, rate: float, order: BookOrder) -> float:
        return rate * self.faults.magic_lie_rate if order.terms.instrument in MAGIC_INSTRUMENTS else rate

    def _at(self, due: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._agenda, (due, next(self._ticket), action))

    def _record(self, change: Change) -> None:
        report = self._book.apply(change)
        self.changes.append(change)
        if report is not None:
            self.reports.append(report)

    def _report(
        self,
        order: BookOrder,
        report_type: ReportType,
        now: float,
        quantity: int | None = None,
        cents: int | None = None,
        reason: str | None = None,
    ) -> None:
        ahead_s = self.faults.clock_ahead
        self._record(["report", order.number, report_type.value, quantity, cents, now, reason, ahead_s])
        rate = self._lie_rate(self.faults.report_lie_rate, order)
        # Without lies the dice are not rolled, so that a seed gives the same results as before lies existed.
        if rate and report_type in FILLS_AND_ENDS and self.dice.random() < rate:
            fields = lying_report(order, report_type, quantity, cents, self.dice)
            self._record(["report_lie", order.number, fields, now, ahead_s])

    def _acknowledge(self, order: BookOrder, now: float) -> None:
        self._report(order, ReportType.NEW, now)
        is_magic = order.terms.instrument in MAGIC_INSTRUMENTS
        if not is_magic and self.dice.random() < self.faults.reject_rate:
            self._at(now + self.faults.fill_interval_s(), partial(self._reject, order))
        else:
            self._begin_life(order, now)

    def _begin_life(self, order: BookOrder, now: float) -> None:
        """Schedule what will happen to an acknowledged order."""
        interval_s = self.faults.fill_interval_s()
        if self.faults.expire_after:
            self._at(now + self.faults.expire_after, partial(self._expire, order))
        if order.is_cancel_requested:
            self._at(now + self.faults.cancel_latency, partial(self._cancel, order))
        if order.terms.instrument == NEVERFILL:
            return
        if order.terms.instrument == PARTIAL:
            if not order.filled_quantity:
                self._at(now + interval_s, partial(self._fill, order, order.terms.quantity // 2))
        elif order.terms.type == "market":
            steps = self.dice.randint(1, 3)
            self._at(now + interval_s, partial(self._fill_step, order, steps))
        else:
            instrument = self._instrument(order)
            instrument.rest(order)
            instrument.quiet_steps = 0
            self._keep_moving(instrument, now)

    def _instrument(self, order: BookOrder) -> Instrument:
        name = order.terms.instrument
        instrument = self._instruments.get(name)
        if instrument is None:
            near_cents = self._book.last_cents.get(name, order.terms.limit_cents)
            instrument = self._instruments[name] = Instrument(PriceWalk(self._seed, name, near_cents))
        elif instrument.walk.is_guess and order.terms.limit_cents is not None:
            # The first limit order shows what the instrument is worth to its traders, which beats a random price.
            instrument.walk = PriceWalk(self._seed, name, order.terms.limit_cents)
        return instrument

    def _fill_step(self, order: BookOrder, steps: int, now: float) -> None:
        """Fill a random part of a market order, or all that is left in the last step."""
        if not order.is_open:
            return
        left = order.open_quantity
        quantity = left if steps == 1 or left == 1 else self.dice.randint(1, left - 1)
        self._instrument(order).walk.step()
        self._fill(order, quantity, now)
        if quantity < left:
            self._at(now + self.faults.fill_interval_s(), partial(self._fill_step, order, steps - 1))

    def _fill(self, order: BookOrder, quantity: int, now: float) -> None:
        if not order.is_open or not quantity:
            return
        cents, limit_cents = self._instrument(order).walk.cents, order.terms.limit_cents
        if limit_cents is not None:
            # Never worse than the limit, even for orders filled without having been crossed.
            cents = min(cents, limit_cents) if order.terms.side == "buy" else max(cents, limit_cents)
        report_type = ReportType.FILLED if quantity == order.open_quantity else ReportType.PARTIALLY_FILLED
        self._report(order, report_type, now, quantity, cents)

    def _keep_moving(self, instrument: Instrument, now: float) -> None:
        if not instrument.is_moving:
            instrument.is_moving = True
            self._at(now + self._walk_interval_s(instrument), partial(self._move, instrument))

    def _walk_interval_s(self, instrument: Instrument) -> float:
        slowness = min(SLOWEST_WALK, 1 + instrument.quiet_steps // 10)
        return max(SHORTEST_WALK_S, self.faults.fill_interval_s()) * slowness

    def _move(self, instrument: Instrument, now: float) -> None:
        """Take one step of the price walk and fill the orders that it crosses, two in five of them only in part."""
        instrument.is_moving = False
        instrument.walk.step()
        crossed = instrument.take_crossed()
        instrument.quiet_steps = 0 if crossed else instrument.quiet_steps + 1
        for order in crossed:
            left = order.open_quantity
            quantity = left if left == 1 or self.dice.random() < 0.6 else self.dice.randint(1, left - 1)
            self._fill(order, quantity, now)
            if quantity < left:
                instrument.rest(order)
        if not instrument.is_empty():
            self._keep_moving(instrument, now)

    def _cancel(self, order: BookOrder, now: float) -> None:
        is_magic = order.terms.instrument in MAGIC_INSTRUMENTS
        if not is_magic and self.dice.random() < self.faults.cancel_race_rate:
            self._fill(order, order.open_quantity, now)
        if order.is_open:
            self._report(order, ReportType.CANCELED, now)
        else:
            self._report(order, ReportType.CANCEL_REJECTED, now, reason=f"too late: the order is {order.status.value}")

    def _reject(self, order: BookOrder, now: float) -> None:
        if order.is_open:
            self._report(order, ReportType.REJECTED, now, reason="rejected after it was acknowledged")

    def _expire(self, order: BookOrder, now: float) -> None:
        if order.is_open:
            self._report(order, ReportType.EXPIRED, now)
