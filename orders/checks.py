"""System checks of the settings that placement depends on. They run before every command."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from orders.transport import TRANSPORTS


@register
def placement_settings(**_: Any) -> list[CheckMessage]:
    errors: list[CheckMessage] = []
    calls = 2 * settings.EXCHANGE_TIMEOUT + settings.EXCHANGE_CLOCK_MARGIN
    if calls >= settings.PLACEMENT_LEASE:
        hint = f"PLACEMENT_LEASE is {settings.PLACEMENT_LEASE:g} s; a look-up and a send may take {calls:g} s."
        errors.append(Error("PLACEMENT_LEASE is too short for the calls made under it.", hint=hint, id="orders.E001"))
    positive = [
        "EXCHANGE_TIMEOUT",
        "PLACEMENT_RETRY_BASE",
        "PLACEMENT_RETRY_CAP",
        "PLACEMENT_GIVE_UP_AFTER",
        "PLACEMENT_CONCURRENCY",
    ]
    wrong = [name for name in positive if not 0 < getattr(settings, name) < 1e6]
    errors += [Error(f"{name} must be above 0.", id="orders.E002") for name in wrong]
    if settings.ORDER_TRANSPORT not in TRANSPORTS:
        errors.append(Error(f"ORDER_TRANSPORT must be {' or '.join(TRANSPORTS)}.", id="orders.E003"))
    return errors


@register(Tags.security, deploy=True)
def no_anonymous_account(**_: Any) -> list[CheckMessage]:
    if settings.ANONYMOUS_ACCOUNT:
        return [Error("ANONYMOUS_ACCOUNT lets requests without credentials place orders.", id="orders.E004")]
    return []
