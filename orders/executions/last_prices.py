"""The price of each instrument's last execution, against which price collars are checked."""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from orders.event_data import FillData
from orders.models import LastPrice, OrderEvent

NOTE_LAST_PRICES = """
    INSERT INTO orders_lastprice AS known (instrument, price, executed_at)
    SELECT * FROM unnest(%s::text[], %s::numeric[], %s::timestamptz[])
    ON CONFLICT (instrument) DO UPDATE SET price = excluded.price, executed_at = excluded.executed_at
    WHERE known.executed_at <= excluded.executed_at"""


def note_last_prices(events: Sequence[OrderEvent], now: datetime) -> None:
    """Keep each instrument's latest execution price, in whatever order the reports arrive.

    A time in the future counts as now, since otherwise no later execution would replace that price.
    """
    latest: dict[str, LastPrice] = {}
    for event in events:
        instrument, executed_at = event.order.instrument, min(event.occurred_at, now)
        known = latest.get(instrument)
        if FillData.has_fill(event.data) and (known is None or known.executed_at <= executed_at):
            price = FillData.read(event.data).last_price
            latest[instrument] = LastPrice(instrument=instrument, price=price, executed_at=executed_at)
    if latest:
        # Sorted, so that two consumers cannot deadlock.
        rows = [latest[instrument] for instrument in sorted(latest)]
        columns = [row.instrument for row in rows], [row.price for row in rows], [row.executed_at for row in rows]
        with connection.cursor() as cursor:
            cursor.execute(NOTE_LAST_PRICES, columns)
