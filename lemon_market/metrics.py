"""Prometheus metrics (https://prometheus.io/docs/instrumenting/exposition_formats/).

Values from the database are read at each scrape, so that every web process reports the same. Counts of the web processes are
summed over those that share a directory, PROMETHEUS_MULTIPROC_DIR: by default those of one server.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from infrastructure import instrumentation, shared_counts
from infrastructure.database.clock import database_now
from infrastructure.database.errors import DatabaseUnavailable
from lemon_market.backup_directory import newest_age_s
from orders.operations import system_status
from orders.placement.worker_state import SILENT_AFTER, heard_within
from orders.states import Status
from orders.transport import transport

Families = Iterator[GaugeMetricFamily]


class SharedCountsCollector(Collector):
    """The counts of all web processes of this server."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def collect(self) -> Iterable[Metric]:
        found: Iterable[Metric] = MultiProcessCollector.merge(shared_counts.readable_files(self.directory))  # type: ignore[no-untyped-call]
        return found


class KafkaCollector(Collector):
    """How far the consumer groups are behind; only with Kafka as the transport."""

    def collect(self) -> Families:
        if not transport().uses_kafka:
            return
        from orders.kafka.lag import lag_watch  # noqa: PLC0415 - librdkafka is loaded only where it is used

        lag = lag_watch.lag()
        yield gauge("kafka_up", "Whether Kafka answers.", lag.problem is None)
        yield labelled("consumer_lag_messages", "Messages that wait for a consumer group.", "topic", lag.messages)


class BackupCollector(Collector):
    """The age of the newest backup; only on a machine that makes backups."""

    def collect(self) -> Families:
        if settings.BACKUP_DIR is None:
            return
        try:
            age_s = newest_age_s(settings.BACKUP_DIR)
        except OSError:
            age_s = None
        yield gauge(
            "backup_age_seconds", "Age of the newest backup; +Inf if there is none.", math.inf if age_s is None else age_s
        )


class DatabaseCollector(Collector):
    """Values from the database, or that it is unavailable."""

    def collect(self) -> Families:
        try:
            families = [*orders(), *workers(), *feed(), *connections()]
        except DatabaseUnavailable:
            families = [gauge("database_up", "Whether the database answers.", value=False)]
        else:
            families.append(gauge("database_up", "Whether the database answers.", value=True))
        yield from families


def orders() -> Families:
    now = database_now()
    yield gauge("queue_age_seconds", "How long the oldest due order has been due.", system_status.queue_age_s(now))
    yield gauge("due_orders", "Orders that are due for a worker now.", system_status.due_count(now))
    waiting = {status.value: system_status.needing_operator(status) for status in (Status.FAILED, Status.ERROR)}
    yield labelled("orders_needing_operator", "Orders that need an operator.", "status", waiting)
    lately = system_status.outcomes_lately(now)
    yield labelled("outcomes_last_minute", "Outcomes of attempts to place orders in the last minute.", "outcome", lately)
    contradictions = "Orders on which the exchange contradicts itself or what is known of them."
    yield gauge("orders_with_discrepancy", contradictions, system_status.discrepancy_count())
    yield gauge("look_ups_due", "Orders that are due to be looked up at the exchange.", system_status.look_ups_due(now))
    yield gauge("dead_letters", "Reports of the exchange that could not be applied.", system_status.dead_letter_count())


def workers() -> Families:
    heard = list(heard_within(SILENT_AFTER))
    with_problem = sum(worker.problem is not None for worker in heard)
    furthest_s = max((abs(worker.clock_offset_s or 0.0) for worker in heard), default=0.0)
    yield gauge("workers_with_problem", "Workers and sweeps that report a problem.", with_problem)
    yield gauge("worker_clock_offset_seconds", "How far the worst worker's clock is from the database's.", furthest_s)


def feed() -> Families:
    state = system_status.feed(timezone.now())
    if state is None:
        return
    yield gauge(
        "feed_connected", "Whether the exchange's feed is connected, as last reported by its follower.", state.is_connected
    )
    yield gauge("feed_said_age_seconds", "How long the feed's follower has reported nothing.", state.said_age_s)
    yield gauge("feed_silent_seconds", "How long reports of the exchange have not arrived.", state.silent_s or 0)
    if state.behind is not None:
        yield gauge("feed_lag_reports", "Reports that the exchange has and that are not applied yet.", state.behind)


def connections() -> Families:
    found = system_status.connections()
    yield labelled("database_connections", "Connections to the database.", "program", found.by_program)
    yield gauge("database_connections_most", "Connections that the database server allows.", found.most)


def gauge(name: str, explanation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lemon_market_{name}", explanation, value=float(value))


def labelled(name: str, explanation: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"lemon_market_{name}", explanation, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


read_at_scrape = CollectorRegistry()
read_at_scrape.register(KafkaCollector())
read_at_scrape.register(BackupCollector())
read_at_scrape.register(DatabaseCollector())


def counted() -> CollectorRegistry:
    """The counts of this web process, or of all on this server."""
    directory = instrumentation.counting.directory
    if directory is None:
        return instrumentation.registry
    registry = CollectorRegistry()
    registry.register(SharedCountsCollector(directory))
    return registry


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, as text."""
    return HttpResponse(generate_latest(counted()) + generate_latest(read_at_scrape), content_type=CONTENT_TYPE_LATEST)
