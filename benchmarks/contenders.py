"""What a contender is: how to start its processes, and how to read from its database what became of its orders."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.children import CHECKOUT

OURS = "Lemon Market"
SEED = "the original brief's design"
CELERY = "FastAPI + Celery"
PROCRASTINATE = "FastAPI + Procrastinate"
DJANGO_Q = "DRF + django-q2"
PGBENCH = "pgbench (the limit)"
PEERS = (SEED, CELERY, PROCRASTINATE, DJANGO_Q)

WEB, WORKERS, UPDATES, NOTIFICATIONS = "web", "workers", "updates", "notifications"


@dataclass(frozen=True, slots=True)
class Contender:
    """`services` are command lines by name; all of one name are started together.

    Clients send `tokens` in turn, if the contender has any. `progress` is a query for how many orders are completed and how
    many wait.
    """

    name: str
    database: str
    web_port: int
    services: dict[str, Sequence[Sequence[str | Path]]]
    environment: dict[str, str]
    tables: Sequence[str]
    progress: str
    tokens: Sequence[str] = ()
    accounts: Sequence[int] = ()
    session: str = ""
    notifications_port: int = 0
    directory: Path = field(default=CHECKOUT)
    # True for the original brief's design: it has no queue, so it places orders only while it accepts others.
    places_while_accepting: bool = False
    needs_redis: bool = False

    @property
    def orders_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}/orders"
