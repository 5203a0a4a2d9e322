"""Metrics that the web process counts itself. Those that can be read from the database are read there, see `metrics`."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog
from django.http import HttpRequest
from prometheus_client import CollectorRegistry, Histogram, values

from infrastructure import shared_counts

log = structlog.get_logger()
registry = CollectorRegistry()
ACCEPTING = {("POST", "/orders"): "order", ("POST", "/orders/batch"): "batch"}
acceptance = Histogram(
    "lemon_market_accept_seconds",
    "Time from a request with new orders to its response, by call and response status.",
    ["call", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0),
    registry=registry,
)


@dataclass(slots=True)
class Counting:
    """`directory` is where processes share their counts; None in a process that does not share them."""

    directory: Path | None = None
    is_on: bool = True


counting = Counting()


def share_counts() -> None:
    """Share counts with the other web processes of this server. Without room for that, count nothing: serving comes first."""
    counting.directory = shared_counts.directory()
    try:
        shared_counts.remove_those_of_ended_servers()
        number = shared_counts.open_file(counting.directory)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counting.directory)
        values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
        # The first histogram opens the file.
        counted_as("order", 202)
    except OSError as error:
        counting.is_on = False
        log.warning("requests_not_counted", directory=str(counting.directory), error=str(error))


def observe_acceptance(request: HttpRequest, status: int, took_s: float) -> None:
    call = ACCEPTING.get((request.method or "", request.path))
    if call is not None and counting.is_on:
        counted_as(call, status).observe(took_s)


@cache
def counted_as(call: str, status: int) -> Histogram:
    """Cached, since `labels` takes a lock and looks up on each call. There are few combinations."""
    return acceptance.labels(call, status)
