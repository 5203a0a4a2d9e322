"""System checks of the settings that clients rely on; they run before every command."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register
def notification_settings(**_: Any) -> list[CheckMessage]:
    errors: list[CheckMessage] = []
    # Credentials are checked every second heartbeat, and revoked ones must be cut off within a minute.
    if not 0.1 <= settings.NOTIFICATIONS_HEARTBEAT <= 25:
        errors.append(Error("NOTIFICATIONS_HEARTBEAT must be between 0.1 and 25 seconds.", id="notifications.E001"))
    if settings.NOTIFICATIONS_CONNECTIONS_PER_ACCOUNT < 1:
        errors.append(Error("NOTIFICATIONS_CONNECTIONS_PER_ACCOUNT must be at least 1.", id="notifications.E002"))
    return errors
