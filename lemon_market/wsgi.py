"""The web process: REST API, admin and documentation pages (WSGI)."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")

from lemon_market.slow_bodies import bounded_body_reads

application = bounded_body_reads(get_wsgi_application())
