"""The web process: REST API, trading page, back office and documentation pages (WSGI)."""

import os
import shutil

import psutil
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from exchange.sockets import allow_many_sockets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # Told before anything counts: the workers of one server share what they count, in a place of that server's own.
    counts = settings.DATA_DIR / "counts" / str(os.getppid())
    counts.mkdir(mode=0o700, parents=True, exist_ok=True)
    for other in counts.parent.iterdir():
        # What a server has left that was killed.
        if not psutil.pid_exists(int(other.name)):
            shutil.rmtree(other, ignore_errors=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counts)

from lemon_market.slow_bodies import bounded_body_reads

# Without one left granian would try to accept a connection again and again.
allow_many_sockets()
application = bounded_body_reads(get_wsgi_application())
