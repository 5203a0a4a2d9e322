"""The guarantee behind the wake-ups: due orders are executed even if every wake-up is lost and the workers freeze."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from time import monotonic

import structlog
from django.conf import settings

from infrastructure.database.clock import ClockWrong, database_now, our_clock
from orders.models import Order
from orders.placement.attempts import finish_overdue_orders
from orders.placement.worker_registry import kill_registered_processes
from orders.placement.worker_state import forget_the_silent, is_explained, say
from orders.risk.switches import confirm_halts, release_orders
from orders.wakeups import carrier

log = structlog.get_logger()


class Sweep:
    """One round confirms halts, releases orders whose halt has ended, settles overdue orders, wakes workers if an order is
    due, and replaces workers that do not respond.
    """

    def __init__(self, *, stalled_after_s: float | None = None, clock: Callable[[], float] = monotonic) -> None:
        # While calls to a slow exchange occupy all slots, no worker claims until one call ends. That is not a stall.
        self.stalled_after_s = stalled_after_s or max(10.0, 5.0 + settings.EXCHANGE_TIMEOUT)
        self.clock = clock
        self.clock_problem: ClockWrong | None = None
        self.oldest_due: tuple[uuid.UUID, int] | None = None
        self.oldest_due_since = clock()

    def run_once(self) -> None:
        self.look_at_clock()
        confirm_halts()
        release_orders()
        while finish_overdue_orders() > 0:
            continue
        oldest = oldest_due_order()
        if oldest is not None:
            carrier().wake_workers_again()
        self.watch(oldest)

    def look_at_clock(self) -> None:
        """Check this machine's clock. Its workers share it, and may be too stuck to check it themselves."""
        try:
            our_clock.measure()
            self.clock_problem = None
        except ClockWrong as wrong:
            self.clock_problem = wrong
        say(None if self.clock_problem is None else f"its {self.clock_problem}: it replaces no workers")
        forget_the_silent()

    def watch(self, oldest: tuple[uuid.UUID, int] | None) -> None:
        """Replace the workers when they are stalled.

        Claims are made oldest first, so if the oldest order stays unclaimed, no worker claims at all. While there is a known
        reason for that, they are not stalled, and once it is gone they get the full time again.
        """
        if oldest is None or oldest != self.oldest_due or self.is_explained():
            self.oldest_due = oldest
            self.oldest_due_since = self.clock()
        elif self.clock() - self.oldest_due_since > self.stalled_after_s:
            replaced = kill_registered_processes()
            log.error("workers_stalled", order_id=str(oldest[0]), stalled_s=self.stalled_after_s, replaced=replaced)
            # The new workers get the same time to start claiming.
            self.oldest_due_since = self.clock()

    def is_explained(self) -> bool:
        return self.clock_problem is not None or is_explained(timedelta(seconds=self.stalled_after_s))

    def forget(self) -> None:
        """Start watching anew: while the database is unavailable, nothing is known about the workers."""
        self.oldest_due = None


def oldest_due_order() -> tuple[uuid.UUID, int] | None:
    """Id and attempt count of the unclaimed order that has been due for longest."""
    return Order.objects.due(database_now()).values_list("id", "attempt_count").first()
