"""The guarantee behind the wake-ups: whatever is due gets done, even if every wake-up is lost and the workers freeze."""

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
from orders.wakeups import wake_workers_again

log = structlog.get_logger()


class Sweep:
    """One round: confirm halts that hold by now, release what a halt held, settle what is overdue, wake workers when
    something is due, replace them when they do not come.
    """

    def __init__(self, *, stalled_after_s: float | None = None, clock: Callable[[], float] = monotonic) -> None:
        # With all slots at a slow exchange nobody claims for as long as one call takes, and that is no stall.
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
            wake_workers_again()
        self.watch(oldest)

    def look_at_clock(self) -> None:
        """The clock of this machine is that of its workers, who may never come to look at it themselves."""
        try:
            our_clock.measure()
            self.clock_problem = None
        except ClockWrong as wrong:
            self.clock_problem = wrong
        say(None if self.clock_problem is None else f"its {self.clock_problem}: it replaces no workers")
        forget_the_silent()

    def watch(self, oldest: tuple[uuid.UUID, int] | None) -> None:
        """Claims are made oldest first, so one oldest order that stays unclaimed means that nobody claims at all.

        Unless there is a reason to: then the workers get the same time anew once that is gone.
        """
        if oldest is None or oldest != self.oldest_due or self.is_explained():
            self.oldest_due = oldest
            self.oldest_due_since = self.clock()
        elif self.clock() - self.oldest_due_since > self.stalled_after_s:
            replaced = kill_registered_processes()
            log.error("workers_stalled", order_id=str(oldest[0]), stalled_s=self.stalled_after_s, replaced=replaced)
            # The new ones get the same time to show themselves.
            self.oldest_due_since = self.clock()

    def is_explained(self) -> bool:
        return self.clock_problem is not None or is_explained(timedelta(seconds=self.stalled_after_s))

    def forget(self) -> None:
        """Nothing can be said about the workers while the database is unavailable."""
        self.oldest_due = None


def oldest_due_order() -> tuple[uuid.UUID, int] | None:
    """Id and attempt count of the order that has been due for longest and that nobody has claimed."""
    return Order.objects.due(database_now()).values_list("id", "attempt_count").first()
