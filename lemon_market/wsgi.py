"""The web process: REST API, trading page, back office and documentation pages (WSGI)."""

import os
import sys

from django.core.wsgi import get_wsgi_application

from infrastructure.sockets import allow_many_sockets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")

from infrastructure.body_reads import bounded_body_reads
from infrastructure.content_types import readable_content_types
from infrastructure.instrumentation import share_counts

# Let short requests interrupt long computations ten times sooner than by default, with which a large batch of one account kept
# other accounts' orders waiting for half a second (benchmarks/neighbours.py).
sys.setswitchinterval(0.0005)
# Without a free file descriptor granian would retry accepting connections in a busy loop.
allow_many_sockets()
application = bounded_body_reads(readable_content_types(get_wsgi_application()))
share_counts()
