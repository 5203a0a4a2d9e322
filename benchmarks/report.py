"""Writes the results as text: the contents of RESULTS.md."""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.contenders import OURS
from benchmarks.figures import Results, Row, is_rate, shown, times_better
from benchmarks.measure import Measure
from benchmarks.stage import Options
from benchmarks.targets import TARGETS, Target

PICTURE = "results.svg"


def markdown(results: Results, measures: Sequence[Measure], machine: Mapping[str, str], options: Options) -> str:
    lines = [
        "# Results",
        "",
        "Written by `make bench`; [README.md](README.md) explains how the figures are measured, and why that is fair.",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += [
        f"- {options.rounds} rounds of {options.seconds:g} s, contenders in turn; medians, and the range",
        f"- peers' concurrency: {options.concurrency} for each of 2 workers, {options.django_q_workers} django-q workers",
        f"- many more orders: {options.large:,}",
        "",
        f"![Bars of the main figures]({PICTURE})",
        "",
    ]
    lines += ["## Targets", "", "| target | measured | |", "|---|---|---|", *(verdict(target, results) for target in TARGETS), ""]
    lines += ["What was tried, and what limits the figures: [NOTES.md](NOTES.md).", ""]
    for measure in measures:
        lines += [f"## {measure.title}", "", measure.explanation, "", *table(rows_of(results, measure)), ""]
    if results.problems:
        lines += ["## Problems", "", *(f"- {problem}" for problem in results.problems), ""]
    return "\n".join(lines)


def verdict(target: Target, results: Results) -> str:
    value = target.value(results)
    if value is None:
        return f"| {target.text} | not measured | |"
    if target.is_met_by(value):
        return f"| {target.text} | {shown(value)} {target.unit} | met |"
    missed = abs(value - target.limit) / target.limit
    return f"| {target.text} | {shown(value)} {target.unit} | **missed** by {missed:.0%} |"


def rows_of(results: Results, measure: Measure) -> list[Row]:
    return [row for row in results.rows() if row.measure == measure.key]


def table(rows: Sequence[Row]) -> Iterator[str]:
    """One line per contender, one column per figure, and how many times better ours is in the first figure."""
    if not rows:
        yield "Not measured in this run."
        return
    by_place = {(row.contender, row.figure): row for row in rows}
    figures = list(dict.fromkeys((row.figure, row.unit) for row in rows))
    contenders = list(dict.fromkeys(row.contender for row in rows))
    first, unit = figures[0]
    ours = by_place.get((OURS, first)) if len(contenders) > 1 else None
    heads = ["", *(f"{figure}, {unit}" for figure, unit in figures)] + ["ours, times as good"] * bool(ours)
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for contender in contenders:
        cells = [contender, *(cell(by_place.get((contender, figure))) for figure, _ in figures)]
        if ours is not None:
            theirs = by_place.get((contender, first))
            cells.append("" if theirs in (None, ours) else shown(times_better(ours.median, theirs.median, unit)))
        yield "| " + " | ".join(cells) + " |"


def cell(row: Row | None) -> str:
    if row is None:
        return ""
    spread = f" ({shown(min(row.values))} to {shown(max(row.values))})" if len(row.values) > 1 else ""
    return shown(row.median) + spread


def first_figures(results: Results, measures: Sequence[Measure]) -> list[tuple[str, list[Row]]]:
    """What the picture shows of each measure with several contenders: its first figure, for all of them."""
    blocks = []
    for measure in measures:
        rows = rows_of(results, measure)
        first = [row for row in rows if row.figure == rows[0].figure]
        if len(first) > 1:
            direction = "" if is_rate(first[0].unit) else " (less is better)"
            blocks.append((f"{measure.title}: {first[0].figure}{direction}", first))
    return blocks
