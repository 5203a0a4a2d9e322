"""What depends on ORDER_TRANSPORT, in one place: whatever asks which transport there is asks `transport()` instead."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Transport:
    """`wakeups` is the module that carries the wake-ups, which is loaded only where it is used: librdkafka takes 11 MB.

    `feed` is the name under which its update consumer keeps the position in the exchange's feed. `roles` are the commands of
    which at least one has to run, each with a database connection of its name.
    """

    name: str
    wakeups: str
    feed: str
    roles: tuple[str, ...]
    uses_kafka: bool = False


TRANSPORTS = {
    transport.name: transport
    for transport in (
        Transport(
            "django_q",
            wakeups="orders.wakeups.django_q",
            feed="exchange",
            roles=("qcluster", "run_sweep", "run_update_consumer"),
        ),
        Transport(
            "kafka",
            wakeups="orders.wakeups.kafka",
            feed="exchange:kafka",
            roles=("run_exchange_consumer", "run_sweep", "run_update_consumer", "run_update_recorder", "run_outbox_relay"),
            uses_kafka=True,
        ),
    )
}


def transport() -> Transport:
    """The one in force; system checks have found before any command that it is one of these."""
    return TRANSPORTS[settings.ORDER_TRANSPORT]
