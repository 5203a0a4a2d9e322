"""A circuit breaker for the exchange as a whole (Nygard, "Release It!", 2nd edition, section 5.2)."""

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from exchange.gateway import CancelOutcome, LookUpOutcome, PlacementOutcome, Unavailable, Unknown


class Source(NamedTuple):
    """The properties of an order that may be the reason why the exchange does not accept it."""

    instrument: str
    account_id: int


class Breaker:
    """Allows all calls until the exchange is unavailable, then single probes, none sooner than the exchange's Retry-After.

    The exchange counts as unavailable when one of these has happened since it last gave any other answer:

    - `threshold` calls were answered with "unavailable". Any one instrument counts for at most half of them, and they must
      come from several accounts, unless only one account was tried within the last minute. So neither an order that is
      retried again and again, nor an instrument or account that the exchange does not serve, blocks the others.
    - `away_threshold` calls in a row found no connection, for any order.

    Any answer but "unavailable" shows that the exchange is available. Silence or an unintelligible answer shows neither: it
    concerns its own order, which is looked up. Calls that began before the breaker opened say nothing about the exchange's
    state since. The feed's connection does not count, because the fault may be on our side.

    Each probe uses an instrument or account that was not probed before, until all have been tried. So one that is never
    served delays the others by one probe at most.
    """

    lately_s = 60.0

    def __init__(
        self,
        threshold: int = 10,
        away_threshold: int = 5,
        probe_interval_s: float = 1.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.threshold = threshold
        self.away_threshold = away_threshold
        self.probe_interval_s = probe_interval_s
        self.clock = clock
        self.by_instrument: Counter[str] = Counter()
        self.accounts: set[int] = set()
        self.without_connection = 0
        self.last_account: int | None = None
        self.accounts_differed_at: float | None = None
        self.opened_at: float | None = None
        # Since the breaker opened: the exchange's last reason, and the sources probed in this round.
        self.reason = ""
        self.probed: list[Source] = []
        self.next_probe_at = 0.0
        # How often it has opened or closed, and how many of these changes the loops of this process have handled.
        self.turns = self.turns_dealt_with = 0

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    @property
    def problem(self) -> str:
        return f"the exchange accepts nothing ({self.reason}): one probe at a time, and oldest first once it accepts one"

    @property
    def pause_s(self) -> float:
        """Seconds until the next probe is allowed."""
        return max(0.0, self.next_probe_at - self.clock())

    def allow(self, wanted: int) -> int:
        """How many of `wanted` calls may start now. Allowing a probe starts the wait for the next one."""
        if not self.is_open:
            return wanted
        if self.pause_s > 0 or wanted == 0:
            return 0
        self.next_probe_at = self.clock() + self.probe_interval_s
        return 1

    def saw(self, source: Source, outcome: PlacementOutcome | LookUpOutcome | CancelOutcome, began_at: float) -> None:
        """Note the outcome of a call that began at `began_at`, by the breaker's clock."""
        if self.last_account not in (None, source.account_id):
            self.accounts_differed_at = self.clock()
        self.last_account = source.account_id
        if self.opened_at is not None and began_at < self.opened_at:
            return
        if isinstance(outcome, Unavailable):
            self.count(source, outcome)
            if self.is_open or self.is_unavailable():
                self.open(outcome)
        elif isinstance(outcome, Unknown):
            self.without_connection = 0
        else:
            self.close()

    def count(self, source: Source, outcome: Unavailable) -> None:
        self.by_instrument[source.instrument] = min(self.by_instrument[source.instrument] + 1, self.threshold // 2)
        self.accounts.add(source.account_id)
        self.without_connection = self.without_connection + 1 if outcome.exchange_is_unavailable else 0

    def is_unavailable(self) -> bool:
        differed = self.accounts_differed_at
        is_one_account_of_several = len(self.accounts) == 1 and differed is not None and self.clock() - differed <= self.lately_s
        refuses_everything = self.by_instrument.total() >= self.threshold and not is_one_account_of_several
        return refuses_everything or self.without_connection >= self.away_threshold

    def open(self, outcome: Unavailable) -> None:
        """Open the breaker, or keep it open after a failed probe."""
        if self.opened_at is None:
            self.opened_at = self.clock()
            self.turns += 1
            self.probed = []
        self.reason = outcome.reason
        wait_s = self.probe_interval_s if outcome.retry_after_s is None else outcome.retry_after_s
        self.next_probe_at = self.clock() + max(wait_s, self.probe_interval_s)

    def close(self) -> None:
        self.by_instrument.clear()
        self.accounts.clear()
        self.without_connection = 0
        if self.opened_at is not None:
            self.opened_at = None
            self.turns += 1
