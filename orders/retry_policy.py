"""When a placement is retried, and when it is given up. Pure: no clock, no database, and the jitter is passed in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from infrastructure.backoff import backoff_s


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """The delays and time limits of placements, in seconds, and how many run at once in one process."""

    retry_base_s: float
    retry_cap_s: float
    give_up_after_s: float
    lease_s: float
    exchange_timeout_s: float
    # How far the exchange's clock may be behind ours when it judges `valid_until`.
    clock_margin_s: float
    concurrency: int

    @classmethod
    def from_settings(cls) -> "PlacementPolicy":
        return cls(
            retry_base_s=settings.PLACEMENT_RETRY_BASE,
            retry_cap_s=settings.PLACEMENT_RETRY_CAP,
            give_up_after_s=settings.PLACEMENT_GIVE_UP_AFTER,
            lease_s=settings.PLACEMENT_LEASE,
            exchange_timeout_s=settings.EXCHANGE_TIMEOUT,
            clock_margin_s=settings.EXCHANGE_CLOCK_MARGIN,
            concurrency=settings.PLACEMENT_CONCURRENCY,
        )

    def give_up_at(self, start: datetime, expires_at: datetime | None) -> datetime:
        """The time from which nothing is sent for an order accepted (or last retried by an operator) at `start`."""
        give_up_at = start + timedelta(seconds=self.give_up_after_s)
        return give_up_at if expires_at is None else min(give_up_at, expires_at)


def retry_delay_s(
    attempt: int, policy: PlacementPolicy, random: Callable[[], float], retry_after_s: float | None = None
) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1).

    Backs off, and never waits less than the exchange's Retry-After. `random` returns a number in [0, 1).
    """
    return max(backoff_s(attempt, policy.retry_base_s, policy.retry_cap_s, random), retry_after_s or 0.0)
