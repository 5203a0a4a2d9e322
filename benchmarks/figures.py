"""The results of measures, and the arithmetic that turns them into a table."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value: more is better if its unit is a rate, less otherwise."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one contender over all rounds."""

    measure: str
    figure: str
    unit: str
    contender: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass
class Results:
    """Collects the figures of all rounds, and what went wrong."""

    values: dict[tuple[str, str, str, str], list[float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add_problem(self, text: str) -> None:
        self.problems.append(text)
        sys.stderr.write(f"{text}\n")

    def add(self, measure: str, contender: str, figures: Sequence[Figure]) -> None:
        """Add the figures of one round, and print them on standard error to show progress."""
        line = ", ".join(f"{figure.name} {shown(figure.value)} {figure.unit}" for figure in figures)
        sys.stderr.write(f"{measure}, {contender}: {line}\n")
        for figure in figures:
            self.values.setdefault((measure, figure.name, figure.unit, contender), []).append(figure.value)

    def rows(self) -> list[Row]:
        return [
            Row(measure, figure, unit, contender, tuple(values))
            for (measure, figure, unit, contender), values in self.values.items()
        ]

    def median(self, measure: str, figure: str, contender: str) -> float | None:
        """The median over all rounds; None when the figure was not measured."""
        for row in self.rows():
            if (row.measure, row.figure, row.contender) == (measure, figure, contender):
                return row.median
        return None


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of all values do not exceed. Raises ValueError when there are no values."""
    if not values:
        raise ValueError("nothing was measured")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def is_rate(unit: str) -> bool:
    return unit.endswith("/s")


def times_better(ours: float, theirs: float, unit: str) -> float:
    """How many times better ours is: 2 for twice the rate or for half the time; infinite when theirs is 0."""
    good, bad = (ours, theirs) if is_rate(unit) else (theirs, ours)
    return good / bad if bad else math.inf


def shown(value: float) -> str:
    """Format with about three significant digits: 1,234 and 12.3 and 0.123."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
