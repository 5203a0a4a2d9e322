"""Health probes of the web process."""

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
    """Answer 200 as long as the process can answer at all."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 when orders can be accepted, otherwise 503 with the problems.

    Orders are accepted even without the exchange or Kafka, so their absence is no reason for 503. The lag of Kafka's
    consumers is reported in any case.
    """
    problems = {}
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            problems["migrations"] = "The database lacks migrations: run manage.py migrate."
        if is_read_only():
            problems["database"] = "The database is read-only."
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
