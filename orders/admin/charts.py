"""Bar charts as SVG, drawn on the server: they need no script and no library, and look right at once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.urls import reverse

from orders.admin.minute_counts import Counts

HEIGHT = 100.0
BAR_GAP = 0.2


@dataclass(frozen=True, slots=True)
class Bar:
    """What happened in one period: two rectangles side by side, a tooltip, and a link to the list."""

    title: str
    link: str
    x: float
    width: float
    accepted_height: float
    placed_height: float

    @property
    def placed_x(self) -> float:
        return self.x + self.width

    @property
    def accepted_y(self) -> float:
        return HEIGHT - self.accepted_height

    @property
    def placed_y(self) -> float:
        return HEIGHT - self.placed_height


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars in a box of `width` times `HEIGHT` units; `top` is the number at its upper edge."""

    heading: str
    bars: list[Bar]
    width: int
    top: str
    begins_at: datetime
    ends_at: datetime
    accepted: str
    placed: str
    height: float = HEIGHT


def draw(heading: str, counts: dict[datetime, Counts], step: timedelta) -> Chart:
    """A chart of `counts`, whose keys are `step` apart."""
    top = max(1, *(max(pair) for pair in counts.values()))
    begins = list(counts)
    width = (1 - BAR_GAP) / 2
    bars = [
        Bar(
            title=f"{moment:%H:%M}: {pair.accepted:,} accepted, {pair.placed:,} placed",
            link=accepted_link(moment, moment + step),
            x=number + BAR_GAP / 2,
            width=width,
            accepted_height=HEIGHT * pair.accepted / top,
            placed_height=HEIGHT * pair.placed / top,
        )
        for number, (moment, pair) in enumerate(counts.items())
    ]
    return Chart(
        heading=heading,
        bars=bars,
        width=len(bars),
        top=f"{top:,}",
        begins_at=begins[0],
        ends_at=begins[-1] + step,
        accepted=f"{sum(pair.accepted for pair in counts.values()):,}",
        placed=f"{sum(pair.placed for pair in counts.values()):,}",
    )


def accepted_link(begin: datetime, end: datetime) -> str:
    """The list of the orders that were accepted from `begin` to before `end`."""
    last = end - timedelta(milliseconds=1)
    query = {
        "created_at_from_0": f"{begin:%Y-%m-%d}",
        "created_at_from_1": f"{begin:%H:%M:%S}",
        "created_at_to_0": f"{last:%Y-%m-%d}",
        "created_at_to_1": f"{last:%H:%M:%S.%f}",
    }
    return f"{reverse('admin:orders_order_changelist')}?{urlencode(query)}"
