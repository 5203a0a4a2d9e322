"""Prometheus metrics of one notification service, at /metrics of its port."""

from prometheus_client import CollectorRegistry, Counter, Gauge

registry = CollectorRegistry()
clients = Gauge("lemon_market_clients", "Clients that are connected.", registry=registry)
messages_sent = Counter("lemon_market_messages_sent", "Messages that clients have taken, heartbeats included.", registry=registry)
connections_ended = Counter(
    "lemon_market_connections_ended", "Connections that this service has ended, by close code.", ["code"], registry=registry
)
