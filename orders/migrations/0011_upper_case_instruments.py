"""One spelling for each instrument. With two of them a halt, a price collar or a last price was got round by letter case.

An order that may be known to the exchange keeps its spelling, by which a look-up compares it. The tables are locked in the
sequence in which orders are accepted, so that neither waits for the other for ever. docs/operations.md says what to stop first.
"""

import django.db.models.functions.comparison
import django.db.models.functions.text
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

# It reads all orders, so it comes before anything is locked. Only a database that was restored from a backup has such
# orders: what may be at the exchange was sent, whether the backup knows that or not.
COUNT_SENDS = """
UPDATE orders_order SET attempt_count = 1
WHERE attempt_count = 0 AND (may_be_at_exchange OR exchange_order_id IS NOT NULL)
    AND instrument <> upper(instrument COLLATE "C")"""

# One switch for each scope: of two in force the older goes on, and the sweep finds nothing to release for the newer.
# The event names the spelling under which the halt began, so that both belong together in what cannot be changed.
HALTS = [
    'LOCK TABLE orders_halt IN ACCESS EXCLUSIVE MODE',
    """
WITH ended AS (
    UPDATE orders_halt AS newer
    SET ended_at = greatest(now(), newer.started_at), ended_by = 'migration 0011_upper_case_instruments',
        end_reason = 'In upper case it is the same as an older halt, which goes on.'
    FROM orders_halt AS older
    WHERE newer.ended_at IS NULL AND older.ended_at IS NULL
        AND upper(newer.instrument COLLATE "C") = upper(older.instrument COLLATE "C")
        AND (older.started_at, older.id) < (newer.started_at, newer.id)
    RETURNING newer.instrument, newer.ended_at, newer.ended_by, newer.end_reason
)
INSERT INTO orders_safetyevent (type, instrument, by, reason, data, occurred_at)
SELECT 'resumed', instrument, ended_by, end_reason, '{}', ended_at FROM ended""",
    """
UPDATE orders_halt SET instrument = upper(instrument COLLATE "C")
WHERE instrument <> upper(instrument COLLATE "C")""",
]

LAST_PRICES = [
    'LOCK TABLE orders_lastprice IN ACCESS EXCLUSIVE MODE',
    """
DELETE FROM orders_lastprice AS older USING orders_lastprice AS newer
WHERE upper(older.instrument COLLATE "C") = upper(newer.instrument COLLATE "C")
    AND (older.executed_at, older.instrument) < (newer.executed_at, newer.instrument)""",
    """
UPDATE orders_lastprice SET instrument = upper(instrument COLLATE "C")
WHERE instrument <> upper(instrument COLLATE "C")""",
]

# Index `order_not_completed` finds them: what has no exchange order id is not completed.
ORDERS_NEVER_SENT = """
UPDATE orders_order SET instrument = upper(instrument COLLATE "C")
WHERE status <> 'completed' AND attempt_count = 0 AND NOT may_be_at_exchange AND exchange_order_id IS NULL
    AND instrument <> upper(instrument COLLATE "C")"""

IN_UPPER_CASE = models.Q(
    instrument=django.db.models.functions.text.Upper(django.db.models.functions.comparison.Collate('instrument', 'C'))
)


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0010_contradictions'),
    ]

    operations = [
        migrations.RunSQL(COUNT_SENDS, migrations.RunSQL.noop),
        migrations.RunSQL(HALTS, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name='halt',
            constraint=models.CheckConstraint(condition=IN_UPPER_CASE, name='halt_instrument_in_upper_case'),
        ),
        migrations.RunSQL(LAST_PRICES, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name='lastprice',
            constraint=models.CheckConstraint(condition=IN_UPPER_CASE, name='last_price_instrument_in_upper_case'),
        ),
        # Not checked against the orders that there are: that would read all of them while nobody can store another.
        AddConstraintNotValid(
            model_name='order',
            constraint=models.CheckConstraint(
                condition=IN_UPPER_CASE | models.Q(attempt_count__gt=0), name='instrument_in_upper_case_unless_sent'
            ),
        ),
        migrations.RunSQL(ORDERS_NEVER_SENT, migrations.RunSQL.noop),
    ]
