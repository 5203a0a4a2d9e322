"""Compares our clock with the database's, by which all machines judge what is due, what is leased and what is too late.

A machine whose own clock is wrong by more than EXCHANGE_CLOCK_MARGIN would give wrong times to the exchange and to clients.
It neither places nor accepts orders until its clock is right again.
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

# Threads that accept orders share one measurement for this long.
MEASURE_EVERY_S = 1.0


def steady_s() -> float:
    """Seconds on a clock that is never set.

    It keeps running while the process is stopped (SIGSTOP) and, unlike CLOCK_MONOTONIC, while the machine is suspended: a
    lease that ended meanwhile must not look valid.
    """
    return clock_gettime(CLOCK_BOOTTIME)


@dataclass
class ClockWrong(Exception):
    """Our clock differs from the database's by more than is tolerated; `offset_s` is ours minus the database's."""

    offset_s: float

    def __str__(self) -> str:
        return f"clock is {abs(self.offset_s):.1f} s {'ahead of' if self.offset_s > 0 else 'behind'} the database's"


@dataclass(frozen=True, slots=True)
class DatabaseClock:
    """The database's clock, as read once and then extrapolated with `steady_s`.

    `offset_s` is ours minus the database's, give or take `uncertainty_s`, half of the round trip.
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
        """By how many seconds our clock has been set forward since then."""
        return (timezone.now() - self.now()).total_seconds() - self.offset_s

    @property
    def is_wrong(self) -> bool:
        """Whether ours is certainly wrong, even if the whole round trip was spent one way."""
        return bool(abs(self.offset_s) - self.uncertainty_s > settings.EXCHANGE_CLOCK_MARGIN)

    def ensure_right(self) -> None:
        """Raise ClockWrong if our clock is wrong."""
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
    # Pretend that it was read at the end: our copy is then never ahead, and nothing expires early if we are stopped meanwhile.
    return DatabaseClock(asked_at, ended_s, (ours - asked_at).total_seconds() + half_s, half_s)


def database_now() -> datetime:
    """The database's time, for comparing with stored times or storing new ones on a machine whose own clock is unchecked."""
    return read_clock().now()


class OurClock:
    """Whether the clock of this process is right; logs when that changes."""

    def __init__(self) -> None:
        self.measured: DatabaseClock | None = None
        self.is_wrong = False
        self.measuring = threading.Lock()

    def measure(self) -> DatabaseClock:
        """Read the database's clock now. Raises ClockWrong, and Django's database errors."""
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
        """Check the clock before orders are accepted; measure again if the last time is long ago or our clock was set since.

        Raises ClockWrong, and Django's database errors.
        """
        last = self.measured
        if last is None or abs(last.jumped_s()) > settings.EXCHANGE_CLOCK_MARGIN / 2:
            self.measure()
        elif last.age_s() > MEASURE_EVERY_S and self.measuring.acquire(blocking=False):
            # One thread measures for all; meanwhile the others use the last measurement, which is hardly older.
            try:
                self.measure()
            finally:
                self.measuring.release()
        else:
            last.ensure_right()


our_clock = OurClock()
