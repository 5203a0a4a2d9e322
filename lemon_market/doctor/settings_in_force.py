from collections.abc import Iterator

from django.conf import settings
from django.core.checks import ERROR, WARNING, run_checks

from lemon_market.doctor.finding import Finding, bad, ok, warn

ADVICE = "Change the environment or .env; .env.example explains each setting."


def check_settings() -> Iterator[Finding]:
    """Django's system checks and ours; those for deployment are included unless the database is the embedded one."""
    is_trial = settings.EMBEDDED_POSTGRES
    found = run_checks(include_deployment_checks=not is_trial)
    messages = [message for message in found if message.level >= WARNING and not message.is_silenced()]
    for message in messages:
        kind = bad if message.level >= ERROR else warn
        yield kind("settings", f"{message.id}: {message.msg}", message.hint or ADVICE)
    if not messages:
        yield ok("settings", "a trial installation with its own database" if is_trial else "ready for deployment")
