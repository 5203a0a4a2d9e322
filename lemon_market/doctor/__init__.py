"""Checks the whole installation, as an operator would: one finding per item, with advice on what to do."""

from collections.abc import Iterator

from lemon_market.doctor.backlog import check_backlog
from lemon_market.doctor.database import check_database
from lemon_market.doctor.finding import Finding, Level, results
from lemon_market.doctor.machine import check_machine
from lemon_market.doctor.services import check_services
from lemon_market.doctor.settings_in_force import check_settings

__all__ = ["Finding", "Level", "examine"]


def examine() -> Iterator[Finding]:
    """All findings. Checks that need the database are skipped while it is unavailable."""
    yield from results("settings", check_settings)
    database = list(results("database", check_database))
    yield from database
    if all(finding.level is not Level.BAD for finding in database if finding.name in {"database", "migrations"}):
        yield from check_backlog()
    yield from check_services()
    yield from results("disk", check_machine)
