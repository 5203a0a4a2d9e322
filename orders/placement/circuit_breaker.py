"""A circuit breaker for the exchange as a whole (Nygard, "Release It!", 2nd edition, section 5.2)."""

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from exchange.gateway import CancelOutcome, LookUpOutcome, PlacementOutcome, Unavailable, Unknown


class Source(NamedTuple):
    """Where an order comes from, as far as that may be why the exchange does not take it."""

    instrument: str
    account_id: int


class Breaker:
    """Lets everything through, until the exchange is unavailable; then one probe, and the next not before the exchange wishes it.

    The exchange is unavailable when one of these has happened since its last other answer:

    - `threshold` calls were answered with "unavailable", of which those about any one instrument count for half at most, and
      which are of several accounts, unless only one was tried within the last minute. So neither an order that is tried again
      and again, nor an instrument or an account that the exchange does not serve, closes the way for the others.
    - `away_threshold` calls in a row found no connection, whatever they were about.

    Any answer but "unavailable" says that the exchange is there. Silence, and what nobody can make sense of, says neither:
    that belongs to its order, which is looked up. Calls that began before the exchange was found to be unavailable say nothing
    about what it has been since. Whether the feed is connected does not matter here: that may be ours.

    Each probe goes to an instrument or an account that none before it went to, until all have been tried. So one that is
    never served cannot keep up the others for longer than a probe takes.
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
        # Since the breaker opened: what the exchange said last, and where probes went in this round.
        self.reason = ""
        self.probed: list[Source] = []
        self.next_probe_at = 0.0
        # How often it has opened or closed, and how many of these turns the loops of this process have dealt with.
        self.turns = self.turns_dealt_with = 0

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    @property
    def problem(self) -> str:
        return f"the exchange takes nothing ({self.reason}): one probe at a time, and oldest first once it takes one"

    @property
    def pause_s(self) -> float:
        """Until the next probe may go."""
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
        """What a call that began at `began_at`, by the breaker's clock, came to."""
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
        serves_nobody = self.by_instrument.total() >= self.threshold and not is_one_account_of_several
        return serves_nobody or self.without_connection >= self.away_threshold

    def open(self, outcome: Unavailable) -> None:
        """Or leave it open, after a probe that was in vain."""
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
