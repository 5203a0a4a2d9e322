from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import structlog

from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line

log = structlog.get_logger()


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: its state, and what to do unless all is well."""

    name: str
    level: Level
    text: str
    advice: str = ""


def ok(name: str, text: str) -> Finding:
    return Finding(name, Level.OK, text)


def warn(name: str, text: str, advice: str) -> Finding:
    return Finding(name, Level.WARN, text, advice)


def bad(name: str, text: str, advice: str) -> Finding:
    return Finding(name, Level.BAD, text, advice)


def judged(name: str, value: float, text: str, advice: str, *, warn_above: float, bad_above: float) -> Finding:
    """Judge by how large `value` is."""
    if value > bad_above:
        return bad(name, text, advice)
    return warn(name, text, advice) if value > warn_above else ok(name, text)


def results(name: str, check: Callable[[], Finding | Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check. If it fails, that is the finding, so that all other checks are still made."""
    try:
        found = check()
        yield from [found] if isinstance(found, Finding) else found
    except DatabaseUnavailable as error:
        advice = "See the finding about the database. All checks that do not need it were made."
        yield bad(f"check of {name}", f"the database cannot be reached: {one_line(error)}", advice)
    except Exception as error:
        log.exception("check_broke", check=name)
        advice = "All other checks were made. The log, on standard error, has the traceback."
        yield bad(f"check of {name}", f"it failed: {type(error).__name__}: {one_line(error)}", advice)
