"""Prometheus metrics of the web process (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from collections.abc import Iterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector


class KafkaCollector(Collector):
    """How far the groups of consumers are behind; nothing with another transport."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if settings.ORDER_TRANSPORT != "kafka":
            return
        from orders.kafka.lag import lag_watch  # noqa: PLC0415 - librdkafka is loaded only where it is used

        lag = lag_watch.lag()
        yield GaugeMetricFamily("lemon_market_kafka_up", "Whether Kafka answers.", value=lag.problem is None)
        waiting = GaugeMetricFamily("lemon_market_consumer_lag_messages", "Messages that wait for a group.", labels=["topic"])
        for topic, count in lag.messages.items():
            waiting.add_metric([topic], count)
        yield waiting


registry = CollectorRegistry()
registry.register(KafkaCollector())


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Everything that is measured, as text."""
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
