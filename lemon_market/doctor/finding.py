from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and what to do unless it is fine."""

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
    """By how large a number is."""
    if value > bad_above:
        return bad(name, text, advice)
    return warn(name, text, advice) if value > warn_above else ok(name, text)
