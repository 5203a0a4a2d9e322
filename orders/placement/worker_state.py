"""What the processes that place orders, and the sweeps beside them, say of themselves, for people and sweeps on every machine."""

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
# Who said nothing for so long says nothing about the present.
SILENT_AFTER = timedelta(seconds=10)
FORGOTTEN_AFTER = timedelta(hours=1)
MAX_PROBLEM_LENGTH = 500
# All times are the database's: whoever has a wrong clock must be able to say so.
SAY = """
INSERT INTO orders_placementworker (name, said_at, clock_offset_s, problem, paused_until)
VALUES (%s, clock_timestamp(), %s, %s, clock_timestamp() + %s * interval '1 second')
ON CONFLICT (name) DO UPDATE SET said_at = excluded.said_at, clock_offset_s = excluded.clock_offset_s,
    problem = excluded.problem, paused_until = excluded.paused_until"""


def say(problem: str | None, pause_s: float | None = None) -> None:
    """That this process is well, or what is wrong; `pause_s` until it tries again, when it waits for the exchange."""
    measured = our_clock.measured
    offset_s = None if measured is None else measured.offset_s
    with connection.cursor() as cursor:
        cursor.execute(SAY, [own_name(), offset_s, problem and problem[:MAX_PROBLEM_LENGTH], pause_s])


def own_name() -> str:
    """As `host:pid role`; the role is what the process calls itself at the database."""
    role = settings.DATABASES["default"]["OPTIONS"]["application_name"].removeprefix("lemon_market ")
    return f"{own_host()}:{os.getpid()} {role}"


def own_host() -> str:
    return socket.gethostname()


def heard_within(time: timedelta) -> QuerySet[PlacementWorker]:
    return PlacementWorker.objects.filter(said_at__gt=Now() - time).order_by("name")


def outage() -> PlacementWorker | None:
    """A worker that waits for an exchange that takes nothing from anybody."""
    return heard_within(SILENT_AFTER).filter(paused_until__isnull=False).first()


def is_explained(within: timedelta) -> bool:
    """Whether a worker has said within this time why workers of this machine take no orders.

    An outage is everybody's. The clock of another machine explains nothing about the workers of this one.
    """
    said = heard_within(within).filter(problem__isnull=False)
    return any(worker.paused_until is not None or worker.host == own_host() for worker in said)


def forget_the_silent() -> None:
    PlacementWorker.objects.filter(said_at__lt=Now() - FORGOTTEN_AFTER).delete()
