"""What the web process counts of its own work; what can be read from the database is read there, see `metrics`."""

from functools import cache

from django.http import HttpRequest
from prometheus_client import CollectorRegistry, Histogram

registry = CollectorRegistry()
ACCEPTING = {("POST", "/orders"): "order", ("POST", "/orders/batch"): "batch"}
acceptance = Histogram(
    "lemon_market_accept_seconds",
    "Time from a request that brings orders to its answer, by call and status of the answer.",
    ["call", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0),
    registry=registry,
)


def observe_acceptance(request: HttpRequest, status: int, took_s: float) -> None:
    call = ACCEPTING.get((request.method or "", request.path))
    if call is not None:
        counted_as(call, status).observe(took_s)


@cache
def counted_as(call: str, status: int) -> Histogram:
    """The histogram's own way to the same one locks and looks up each time. There are few of them."""
    return acceptance.labels(call, status)
