"""The web process: REST API, admin and documentation pages (WSGI)."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")
application = get_wsgi_application()
