"""What a person would check who wants to know whether all is well: one finding for each thing, with what to do about it."""

from collections.abc import Iterator

from lemon_market.doctor.database import check_database
from lemon_market.doctor.finding import Finding, Level, results
from lemon_market.doctor.machine import check_machine
from lemon_market.doctor.outside import check_outside
from lemon_market.doctor.settings_in_force import check_settings
from lemon_market.doctor.work import check_work

__all__ = ["Finding", "Level", "examine"]


def examine() -> Iterator[Finding]:
    """Every finding. What only the database can tell is left out while it is unavailable."""
    yield from results("settings", check_settings)
    database = list(results("database", check_database))
    yield from database
    if all(finding.level is not Level.BAD for finding in database if finding.name in {"database", "migrations"}):
        yield from check_work()
    yield from check_outside()
    yield from results("disk", check_machine)
