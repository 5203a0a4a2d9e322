"""The state that placement workers and sweeps report about themselves, for operators and for sweeps on every machine."""

import os
import socket
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from infrastructure.database.clock import our_clock
from orders.models import PlacementWorker

SAY_EVERY_S = 2.0
# A report older than this says nothing about the present.
SILENT_AFTER = timedelta(seconds=10)
FORGOTTEN_AFTER = timedelta(hours=1)
MAX_PROBLEM_LENGTH = 500
# All times are the database's, so that a process with a wrong clock can report it.
SAY = """
INSERT INTO orders_placementworker (name, said_at, clock_offset_s, problem, paused_until)
VALUES (%s, clock_timestamp(), %s, %s, clock_timestamp() + %s * interval '1 second')
ON CONFLICT (name) DO UPDATE SET said_at = excluded.said_at, clock_offset_s = excluded.clock_offset_s,
    problem = excluded.problem, paused_until = excluded.paused_until"""


def say(problem: str | None, pause_s: float | None = None) -> None:
    """Report that this process is well (None) or its problem. `pause_s`: if it waits for the exchange, when it tries again."""
    measured = our_clock.measured
    offset_s = None if measured is None else measured.offset_s
    with connection.cursor() as cursor:
        cursor.execute(SAY, [own_name(), offset_s, problem and problem[:MAX_PROBLEM_LENGTH], pause_s])


def own_name() -> str:
    """This process's name, `host:pid role`; the role is from the application name of its database connection."""
    role = settings.DATABASES["default"]["OPTIONS"]["application_name"].removeprefix("lemon_market ")
    return f"{own_host()}:{os.getpid()} {role}"


def own_host() -> str:
    return socket.gethostname()


def heard_within(time: timedelta) -> QuerySet[PlacementWorker]:
    return PlacementWorker.objects.filter(said_at__gt=Now() - time).order_by("name")


def outage() -> PlacementWorker | None:
    """A worker that is paused because the exchange accepts nothing, or None."""
    return heard_within(SILENT_AFTER).filter(paused_until__isnull=False).first()


def is_explained(within: timedelta) -> bool:
    """Whether a worker has reported within this time why workers of this machine claim no orders.

    An outage of the exchange affects all machines. Another machine's wrong clock explains nothing about this one's workers.
    """
    with_problem = heard_within(within).filter(problem__isnull=False)
    return any(worker.paused_until is not None or worker.host == own_host() for worker in with_problem)


def forget_the_silent() -> None:
    PlacementWorker.objects.filter(said_at__lt=Now() - FORGOTTEN_AFTER).delete()
