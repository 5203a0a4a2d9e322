"""The targets, and whether a run meets them."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contenders import CELERY, OURS, PEERS, PGBENCH, PROCRASTINATE
from benchmarks.figures import Results
from benchmarks.measures.growing import FEW, MANY

Value = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Target:
    """`value` has to be at least `limit`, or at most if `is_upper`; it is None when a run did not measure it."""

    text: str
    value: Value
    limit: float
    unit: str
    is_upper: bool = False

    def is_met_by(self, value: float) -> bool:
        return value <= self.limit if self.is_upper else value >= self.limit


def figure(measure: str, name: str, contender: str = OURS) -> Value:
    return lambda results: results.median(measure, name, contender)


def ratio(above: Value, below: Value) -> Value:
    def divided(results: Results) -> float | None:
        numerator, denominator = above(results), below(results)
        return None if numerator is None or not denominator else numerator / denominator

    return divided


def best_peer(measure: str, name: str) -> Value:
    def best(results: Results) -> float | None:
        values = [value for peer in PEERS if (value := results.median(measure, name, peer)) is not None]
        return max(values, default=None)

    return best


def against(measure: str, name: str, other: str) -> Value:
    return ratio(figure(measure, name), figure(measure, name, other))


def growth(name: str) -> Value:
    return ratio(figure("growth", name, MANY), figure("growth", name, FEW))


TARGETS = [
    Target("POST /orders: at least 2 times FastAPI + Celery", against("accept", "accepted", CELERY), 2, "times"),
    Target(
        "POST /orders: at least 2.5 times FastAPI + Procrastinate", against("accept", "accepted", PROCRASTINATE), 2.5, "times"
    ),
    Target("POST /orders: p99 no worse than FastAPI + Celery", against("accept", "p99", CELERY), 1, "times", is_upper=True),
    Target("POST /orders: p99 no worse than FastAPI + Procrastinate", against("accept", "p99", PROCRASTINATE), 1, "times", True),
    Target(
        "Batches of 500: at least pgbench's rate of single rows",
        ratio(figure("batch", "accepted"), figure("accept", "accepted", PGBENCH)),
        1,
        "times",
    ),
    Target(
        "Accepted to completed: at least 5 times the best peer",
        ratio(figure("place", "completed"), best_peer("place", "completed")),
        5,
        "times",
    ),
    Target("Accepted to completed: at least 500 orders/s, for 60 s", figure("place", "completed"), 500, "orders/s"),
    Target(
        "Accepted to completed, orders arriving meanwhile: at least 500 orders/s",
        figure("place_whole_system", "completed"),
        500,
        "orders/s",
    ),
    Target("Accepted until the exchange has it: p50 at most 20 ms", figure("reach", "p50"), 20, "ms", is_upper=True),
    Target("Accepted until the exchange has it: p99 at most 100 ms", figure("reach", "p99"), 100, "ms", is_upper=True),
    Target("Feed to WebSocket client: at least 5,000 updates/s", figure("updates", "delivered"), 5000, "updates/s"),
    Target("Feed to WebSocket client, at 1,000/s: p99 at most 250 ms", figure("updates_calm", "p99"), 250, "ms", is_upper=True),
    Target("Feed to the Kafka topic: at least 20,000 reports/s", figure("append", "appended"), 20_000, "reports/s"),
    Target("1,000 WebSocket clients: 5,000 events/s", figure("clients", "delivered"), 4950, "events/s"),
    Target("1,000 WebSocket clients: p99 at most 200 ms", figure("clients", "p99"), 200, "ms", is_upper=True),
    *(
        Target(f"{name} among many more orders: at most 1.2 times what it takes among 100,000", growth(name), 1.2, "times", True)
        for name in ("POST /orders", "claim of 200", "GET /orders", "landing page", "order list", "failed list")
    ),
    Target("Memory of the whole system at rest: below 700 MiB", figure("rest", "memory"), 700, "MiB", is_upper=True),
    Target("Ready in under 10 s when installed", figure("rest", "first start"), 10, "s", is_upper=True),
]
