"""Template filters for durations and ages in readable form: at most two units, with seconds where they matter."""

from datetime import datetime, timedelta

from django import template
from django.utils import timezone

register = template.Library()

UNITS = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]


@register.filter
def duration(length: timedelta | float | None) -> str:
    """Format `length`, a timedelta or seconds: "180 ms", "1.4 s", "12 s", "3 min 5 s", "2 h 10 min", "4 d 3 h"."""
    if length is None:
        return ""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for number, (unit, size) in enumerate(UNITS):
        if whole >= size:
            rest = whole % size
            smaller = f" {rest // UNITS[number + 1][1]} {UNITS[number + 1][0]}" if unit != "s" else ""
            return f"{whole // size} {unit}{smaller}"
    raise AssertionError("unreachable: whole is 10 or more")


@register.filter
def age(moment: datetime | None) -> str:
    """How long ago `moment` was, in seconds or coarser."""
    if moment is None:
        return ""
    seconds = (timezone.now() - moment).total_seconds()
    return f"{max(seconds, 0):.0f} s" if seconds < 10 else duration(seconds)
