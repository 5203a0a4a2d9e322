"""The notification process: live order events over WebSocket (ASGI)."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")
django.setup()

from notifications.routing import create_application  # noqa: E402 - reads the settings
from notifications.service import Service  # noqa: E402

application = create_application(Service())
