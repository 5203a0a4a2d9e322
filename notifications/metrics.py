"""Prometheus metrics of one notification service, served on its port at /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge

registry = CollectorRegistry()
clients = Gauge("lemon_market_clients", "Connected clients.", registry=registry)
messages_sent = Counter("lemon_market_messages_sent", "Messages sent to clients, heartbeats included.", registry=registry)
connections_ended = Counter(
    "lemon_market_connections_ended", "Connections closed by this service, by close code.", ["code"], registry=registry
)
