import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from lemon_market.backup_directory import newest_age_s
from lemon_market.doctor.finding import Finding, bad, judged


def check_machine() -> Iterator[Finding]:
    yield check_disk()
    if settings.BACKUP_DIR is not None:
        yield check_backups(settings.BACKUP_DIR)


def check_disk() -> Finding:
    # It may yet have to be made.
    usage = shutil.disk_usage(next(place for place in [settings.DATA_DIR, *settings.DATA_DIR.parents] if place.exists()))
    used = 1 - usage.free / usage.total
    what = "DATA_DIR and the database" if settings.EMBEDDED_POSTGRES else "DATA_DIR"
    text = f"{usage.free / 1e9:.1f} GB free where {what} {'are' if settings.EMBEDDED_POSTGRES else 'is'}"
    advice = "Make room: a database without any stops. manage.py prune_events removes old history."
    return judged("disk", used, text, advice, warn_above=0.9, bad_above=0.98)


def check_backups(directory: Path) -> Finding:
    """Of the machine that makes them: another has no BACKUP_DIR."""
    advice = "Look why `manage.py backup` fails: journalctl -u lemon-market-backup, with systemd. None is removed meanwhile."
    try:
        age_s = newest_age_s(directory)
    except OSError as error:
        return bad("backups", f"{directory} cannot be read: {error.strerror}", "Make it, or set BACKUP_DIR right.")
    if age_s is None:
        return bad("backups", f"there is none in {directory}", advice)
    text = f"the newest in {directory} is {age_s / 3600:.1f} h old"
    most_s = settings.BACKUP_MAX_AGE
    return judged("backups", age_s, text, advice, warn_above=most_s / 2, bad_above=most_s)
