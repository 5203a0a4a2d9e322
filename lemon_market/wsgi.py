"""The web process: REST API, trading page, back office and documentation pages (WSGI)."""

import os
import sys

from django.core.wsgi import get_wsgi_application

from infrastructure.sockets import allow_many_sockets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")

from infrastructure.body_reads import bounded_body_reads
from infrastructure.content_types import readable_content_types
from infrastructure.instrumentation import share_counts

# A request that needs Python for a moment gets it sooner from those that compute for long: ten times as soon as by default,
# where a large batch of one account kept the orders of others waiting for half a second (benchmarks/neighbours.py).
sys.setswitchinterval(0.0005)
# Without one left granian would try to accept a connection again and again.
allow_many_sockets()
application = bounded_body_reads(readable_content_types(get_wsgi_application()))
share_counts()
