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
    # DATA_DIR may not exist yet.
    usage = shutil.disk_usage(next(place for place in [settings.DATA_DIR, *settings.DATA_DIR.parents] if place.exists()))
    used = 1 - usage.free / usage.total
    what = "DATA_DIR and the database" if settings.EMBEDDED_POSTGRES else "DATA_DIR"
    text = f"{usage.free / 1e9:.1f} GB free where {what} {'are' if settings.EMBEDDED_POSTGRES else 'is'}"
    advice = "Free some space: a full disk stops the database. manage.py prune_events removes old history."
    return judged("disk", used, text, advice, warn_above=0.9, bad_above=0.98)


def check_backups(directory: Path) -> Finding:
    """Only on the machine that makes backups: others have no BACKUP_DIR."""
    advice = "Find out why `manage.py backup` fails; with systemd: journalctl -u lemon-market-backup. Old ones are kept."
    try:
        age_s = newest_age_s(directory)
    except OSError as error:
        return bad("backups", f"{directory} cannot be read: {error.strerror}", "Create it, or correct BACKUP_DIR.")
    if age_s is None:
        return bad("backups", f"there are none in {directory}", advice)
    text = f"the newest in {directory} is {age_s / 3600:.1f} h old"
    max_age_s = settings.BACKUP_MAX_AGE
    return judged("backups", age_s, text, advice, warn_above=max_age_s / 2, bad_above=max_age_s)
