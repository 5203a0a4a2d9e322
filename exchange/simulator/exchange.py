"""The running simulated exchange: book, market, journal and report log on one event loop."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from exchange.reports import OrderStatus, ReportType
from exchange.simulator.book import Book, BookOrder, Change, describe
from exchange.simulator.faults import Faults
from exchange.simulator.journal import Journal
from exchange.simulator.market import Market
from exchange.simulator.placements import ReceivedPlacement
from exchange.simulator.report_log import ReportLog

logger = logging.getLogger(__name__)

# Actions that fall due within one tick are executed, written and sent together.
SHORTEST_TICK_S = 0.002


class SimulatedExchange:
    """Owns all state. Every method that changes something writes it to the journal before it returns.

    `wake_feeds` is called after reports were added, `cut_feeds` to drop the feed's connections. `failed` is set when the
    journal could not be written: the process must then end, and the next one starts from what was written.
    """

    def __init__(
        self, directory: Path, faults: Faults, *, seed: int = 0, retention: int = 100_000, clock: Callable[[], float] = time.time
    ) -> None:
        """Open a data directory and rebuild its book; raises JournalError and OSError."""
        self.book = Book()
        self.log = ReportLog(retention)
        self.clock = clock
        self.wake_feeds: Callable[[], None] = lambda: None
        self.cut_feeds: Callable[[], None] = lambda: None
        self.failed = asyncio.Event()
        # While it is closed no client reaches it, but orders already taken go on. A restart opens it.
        self.is_open = True
        self._journal = Journal(directory)
        self._journal.replay(self._replay)
        self._market = Market(self.book, faults, seed)
        self.dice = self._market.dice
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    def start(self) -> None:
        """Begin a session if there is none yet, and resume every open order; to be called on the event loop."""
        if not self.book.session_id:
            self._market.begin_session(uuid4().hex)
        self._market.resume(self.clock())
        self._settle()

    def close(self) -> None:
        """Stop all timers and release the data directory."""
        if self._timer is not None:
            self._timer.cancel()
        self._journal.close()

    @property
    def faults(self) -> Faults:
        return self._market.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._market.faults = faults
        # A shorter delay may make reports due that the feeds still hold back.
        self.wake_feeds()

    def take(self, placement: ReceivedPlacement, acknowledge_after_s: float) -> BookOrder:
        """Enter an order into the book."""
        order = self._market.take(placement, self.clock(), acknowledge_after_s)
        self._settle()
        return order

    def count_repeat(self, order: BookOrder) -> None:
        """Count a placement with a known id."""
        self._market.count_repeat(order)
        self._settle()

    def answer_to_look_up(self, order: BookOrder) -> dict[str, Any]:
        """The order as a look-up shows it, which may contradict itself."""
        lie = self._market.contradict(order)
        self._settle()
        position = {"session_id": self.book.session_id, "last_sequence": self.book.last_sequence}
        return {**describe(order), **lie, **position}

    def request_cancel(self, order: BookOrder) -> None:
        """Take a cancel request for an open order."""
        self._market.request_cancel(order, self.clock())
        self._settle()

    def shut(self) -> None:
        """Be as good as unreachable for every client until `reopen`."""
        self.is_open = False
        self.cut_feeds()

    def reopen(self) -> None:
        self.is_open = True

    def begin_session(self) -> None:
        """Forget the feed's state: a new session id, sequences from 1, the same book."""
        self._market.begin_session(uuid4().hex)
        self.log.clear()
        self._settle()
        self.cut_feeds()

    async def acknowledged(self, order: BookOrder) -> None:
        """Wait until an order is no longer pending_new."""
        if order.status is OrderStatus.PENDING_NEW:
            future = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(order.number, []).append(future)
            await future

    def _replay(self, change: Change) -> None:
        report = self.book.apply(change)
        if report is not None:
            self.log.append(report)
        elif change[0] == "session":
            self.log.clear()

    def _tick(self) -> None:
        self._timer = None
        self._market.advance(self.clock())
        self._settle()

    def _settle(self) -> None:
        """Write the changes to the journal, then notify everything that waits for them, then set the timer for the next."""
        market = self._market
        if market.changes:
            try:
                self._journal.append(market.changes)
            except OSError:
                logger.critical("the journal cannot be written, the exchange stops", exc_info=True)
                self.failed.set()
                raise
            market.changes.clear()
        if market.reports:
            for report in market.reports:
                self.log.append(report)
                if report.type is ReportType.NEW:
                    for future in self._waiting.pop(report.order.number, ()):
                        if not future.done():
                            future.set_result(None)
            market.reports.clear()
            self.wake_feeds()
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._market.next_due()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(max(due - self.clock(), SHORTEST_TICK_S), self._tick)
