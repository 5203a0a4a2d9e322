"""A circuit breaker for the exchange as a whole (Nygard, "Release It!", 2nd edition, section 5.2)."""

from collections.abc import Callable
from time import monotonic


class Breaker:
    """Lets everything through, until the exchange cannot be reached; then one probe per `probe_interval_s`.

    Only "no connection at all" counts against the exchange. A refusal, a 503 or a timeout belongs to one order, and one
    order must not close the way for the others. Any answer closes the breaker again, and the backlog then drains.
    """

    def __init__(self, threshold: int = 5, probe_interval_s: float = 1.0, clock: Callable[[], float] = monotonic) -> None:
        self.threshold = threshold
        self.probe_interval_s = probe_interval_s
        self.clock = clock
        self.failures = 0
        self.next_probe_at = 0.0

    @property
    def is_open(self) -> bool:
        return self.failures >= self.threshold

    def allow(self, wanted: int) -> int:
        """How many of `wanted` calls may start now. Allowing a probe starts the wait for the next one."""
        if not self.is_open:
            return wanted
        if self.clock() < self.next_probe_at or wanted == 0:
            return 0
        self.next_probe_at = self.clock() + self.probe_interval_s
        return 1

    def exchange_answered(self) -> None:
        self.failures = 0

    def exchange_was_away(self) -> None:
        self.failures += 1
