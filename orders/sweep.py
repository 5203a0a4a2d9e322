"""The guarantee behind the wake-ups: whatever is due gets done, even if every wake-up is lost and the workers freeze."""

import uuid
from collections.abc import Callable
from time import monotonic

import structlog
from django.conf import settings
from django.utils import timezone

from orders.dispatch import wake_workers_again
from orders.halting import release_orders
from orders.placement import finish_overdue_orders
from orders.standing import due_orders
from orders.worker_process import kill_registered_processes

log = structlog.get_logger()


class Sweep:
    """One round: release what a halt held, settle what is overdue, wake workers when something is due, replace them when
    they do not come.
    """

    def __init__(self, *, stalled_after_s: float | None = None, clock: Callable[[], float] = monotonic) -> None:
        # With all slots at a slow exchange nobody claims for as long as one call takes, and that is no stall.
        self.stalled_after_s = stalled_after_s or max(10.0, 5.0 + settings.EXCHANGE_TIMEOUT)
        self.clock = clock
        self.oldest_due: tuple[uuid.UUID, int] | None = None
        self.oldest_due_since = clock()

    def run_once(self) -> None:
        release_orders()
        while finish_overdue_orders() > 0:
            continue
        oldest = oldest_due_order()
        if oldest is not None:
            wake_workers_again()
        self.watch(oldest)

    def watch(self, oldest: tuple[uuid.UUID, int] | None) -> None:
        """Claims are made oldest first, so one oldest order that stays unclaimed means that nobody claims at all."""
        if oldest is None or oldest != self.oldest_due:
            self.oldest_due = oldest
            self.oldest_due_since = self.clock()
        elif self.clock() - self.oldest_due_since > self.stalled_after_s:
            replaced = kill_registered_processes()
            log.error("workers_stalled", order_id=str(oldest[0]), stalled_s=self.stalled_after_s, replaced=replaced)
            # The new ones get the same time to show themselves.
            self.oldest_due_since = self.clock()

    def forget(self) -> None:
        """Nothing can be said about the workers while the database is away."""
        self.oldest_due = None


def oldest_due_order() -> tuple[uuid.UUID, int] | None:
    """Id and attempt count of the order that has been due for longest and that nobody has claimed."""
    return due_orders(timezone.now()).values_list("id", "attempt_count").first()
