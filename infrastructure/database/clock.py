"""Our clock against the database's, by which all machines judge what is due, what is leased and what is too late.

A machine whose own clock is wrong by more than EXCHANGE_CLOCK_MARGIN would tell the exchange and clients wrong times. It
neither places nor accepts orders until its clock is right again.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import CLOCK_BOOTTIME, clock_gettime

import structlog
from django.conf import settings
from django.db import connection
from django.utils import timezone

log = structlog.get_logger()

# Whoever accepts orders asks once for all that come within this time.
MEASURE_EVERY_S = 1.0


def steady_s() -> float:
    """Seconds on a clock that nobody sets.

    It goes on while the process is stopped (SIGSTOP) and, unlike CLOCK_MONOTONIC, while the machine is suspended: a lease
    that ended meanwhile must not look as fresh as before.
    """
    return clock_gettime(CLOCK_BOOTTIME)


@dataclass
class ClockWrong(Exception):
    """Our clock is further from the database's than we may tolerate; `offset_s` is ours minus the database's."""

    offset_s: float

    def __str__(self) -> str:
        return f"clock is {abs(self.offset_s):.1f} s {'ahead of' if self.offset_s > 0 else 'behind'} the database's"


@dataclass(frozen=True, slots=True)
class DatabaseClock:
    """The database's clock as we know it from asking once; from then on it is carried forward by `steady_s`.

    `offset_s` is ours minus the database's, known to `uncertainty_s`, half of the round trip.
    """

    asked_at: datetime
    asked_at_steady_s: float
    offset_s: float
    uncertainty_s: float

    def now(self) -> datetime:
        return self.asked_at + timedelta(seconds=self.age_s())

    def age_s(self) -> float:
        return steady_s() - self.asked_at_steady_s

    def jumped_s(self) -> float:
        """How far our clock has been set since then."""
        return (timezone.now() - self.now()).total_seconds() - self.offset_s

    @property
    def is_wrong(self) -> bool:
        """Whether ours is wrong for certain, however long the answer was on its way."""
        return bool(abs(self.offset_s) - self.uncertainty_s > settings.EXCHANGE_CLOCK_MARGIN)

    def ensure_right(self) -> None:
        """Raises ClockWrong."""
        if self.is_wrong:
            raise ClockWrong(self.offset_s)


def read_clock() -> DatabaseClock:
    """Ask the database for its time. Raises Django's database errors."""
    connection.ensure_connection()
    started_s, ours = steady_s(), timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        [(asked_at,)] = cursor.fetchall()
    ended_s = steady_s()
    half_s = (ended_s - started_s) / 2
    # As if it had been asked at the end: so it is never ahead, and nothing is over too early, should we be stopped meanwhile.
    return DatabaseClock(asked_at, ended_s, (ours - asked_at).total_seconds() + half_s, half_s)


def database_now() -> datetime:
    """For whoever compares with stored times, or stores some, on a machine whose own clock nobody has looked at."""
    return read_clock().now()


class OurClock:
    """Whether the clock of this process is right. Says in the log when that changes."""

    def __init__(self) -> None:
        self.measured: DatabaseClock | None = None
        self.is_wrong = False
        self.measuring = threading.Lock()

    def measure(self) -> DatabaseClock:
        """Raises ClockWrong, and Django's database errors."""
        self.measured = measured = read_clock()
        if measured.is_wrong != self.is_wrong:
            self.is_wrong = measured.is_wrong
            if self.is_wrong:
                log.error("clock_wrong", offset_s=round(measured.offset_s, 3))
            else:
                log.warning("clock_right", offset_s=round(measured.offset_s, 3))
        measured.ensure_right()
        return measured

    def ensure_right(self) -> None:
        """For a thread that is about to accept orders: measures anew when that was long ago or our clock was set since.

        Raises ClockWrong, and Django's database errors.
        """
        last = self.measured
        if last is None or abs(last.jumped_s()) > settings.EXCHANGE_CLOCK_MARGIN / 2:
            self.measure()
        elif last.age_s() > MEASURE_EVERY_S and self.measuring.acquire(blocking=False):
            # One measures for all; the others go by the last measurement, which is hardly older than that.
            try:
                self.measure()
            finally:
                self.measuring.release()
        else:
            last.ensure_right()


our_clock = OurClock()
