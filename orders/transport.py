"""Everything that depends on ORDER_TRANSPORT, in one place: use `transport()` and do not read the setting."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Transport:
    """`wakeups` is the module that sends wake-ups. It is imported only where it is used, because librdkafka takes 11 MB.

    `feed` is the name under which the update consumer stores its position in the exchange's feed. `roles` are the commands
    that must run, each at least once; a database connection of each is named after its role.
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
    """The transport in use. System checks ensure before every command that ORDER_TRANSPORT is a known name."""
    return TRANSPORTS[settings.ORDER_TRANSPORT]
