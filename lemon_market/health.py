"""Probes for whatever watches over the web process."""

from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from infrastructure.database.base import is_read_only
from infrastructure.database.clock import ClockWrong, our_clock
from infrastructure.database.errors import DatabaseUnavailable
from orders.transport import transport


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """200 while the process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """200 when orders can be accepted, else 503 with what is wrong.

    Accepting goes on without the exchange and without Kafka, so they do not make it 503. How far Kafka's consumers are
    behind is told all the same.
    """
    problems = {}
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            problems["migrations"] = "The database lacks migrations: run manage.py migrate."
        if is_read_only():
            problems["database"] = "The database takes no changes: it is read-only."
        our_clock.measure()
    except ClockWrong as wrong:
        problems["clock"] = f"This server's {wrong}."
    except DatabaseUnavailable:
        problems["database"] = "The database is not available."
    if problems:
        return JsonResponse({"status": "unavailable", "problems": problems}, status=503)
    return JsonResponse({"status": "ok"} | kafka_state())


def kafka_state() -> dict[str, Any]:
    if not transport().uses_kafka:
        return {}
    from orders.kafka.lag import lag_watch  # noqa: PLC0415 - librdkafka is loaded only where it is used

    lag = lag_watch.lag()
    return {"kafka": {"problem": lag.problem} if lag.problem else {"lag": lag.messages}}
