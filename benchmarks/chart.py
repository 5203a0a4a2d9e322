"""Draws the measures as an SVG: bars, one block for each measure."""

from collections.abc import Sequence
from html import escape

from benchmarks.figures import Row, shown

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 800, 250, 130
ROW, GAP, TITLE = 22, 26, 26
OURS_FILL, OTHER_FILL = "#e0a800", "#9aa4ad"


def draw(blocks: Sequence[tuple[str, Sequence[Row]]], ours: str) -> str:
    """Draw one block of bars per title. The bars of a block share a scale that starts at 0."""
    parts, y = [], GAP
    for title, rows in blocks:
        parts.append(f'<text x="10" y="{y}" class="title">{escape(title)}</text>')
        y += TITLE - ROW // 2
        largest = max((row.median for row in rows), default=0) or 1
        for row in rows:
            parts += bar(row, y, row.median / largest, OURS_FILL if row.contender == ours else OTHER_FILL)
            y += ROW
        y += GAP
    style = "text{font:13px sans-serif;fill:#222}.title{font-weight:bold}.label{text-anchor:end}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">'
    background = f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'
    return "\n".join([head, f"<style>{style}</style>", background, *parts, "</svg>", ""])


def bar(row: Row, y: float, share: float, fill: str) -> list[str]:
    length = max(1, round((WIDTH - LABEL_WIDTH - VALUE_WIDTH) * share))
    return [
        f'<text x="{LABEL_WIDTH - 8}" y="{y + 15}" class="label">{escape(row.contender)}</text>',
        f'<rect x="{LABEL_WIDTH}" y="{y + 3}" width="{length}" height="{ROW - 6}" fill="{fill}"/>',
        f'<text x="{LABEL_WIDTH + length + 6}" y="{y + 15}">{shown(row.median)} {escape(row.unit)}</text>',
    ]
