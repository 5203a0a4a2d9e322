import shutil
from collections.abc import Iterator

from django.conf import settings

from lemon_market.doctor.finding import Finding, judged


def check_machine() -> Iterator[Finding]:
    # It may yet have to be made.
    usage = shutil.disk_usage(next(place for place in [settings.DATA_DIR, *settings.DATA_DIR.parents] if place.exists()))
    used = 1 - usage.free / usage.total
    what = "DATA_DIR and the database" if settings.EMBEDDED_POSTGRES else "DATA_DIR"
    text = f"{usage.free / 1e9:.1f} GB free where {what} {'are' if settings.EMBEDDED_POSTGRES else 'is'}"
    advice = "Make room: a database without any stops. manage.py prune_events removes old history."
    yield judged("disk", used, text, advice, warn_above=0.9, bad_above=0.98)
