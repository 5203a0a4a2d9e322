"""Creates any number of old orders in PostgreSQL itself, as a service has that has run for years."""

from typing import Any, Protocol

# How many orders have failed, are open at the exchange, and wait to be placed, whatever the total: these are work to do,
# and the rest must not cost anything.
FAILED_ORDERS = OPEN_ORDERS = DUE_ORDERS = 1_000
ORDERS_PER_TRANSACTION = 100_000


class Cursor(Protocol):
    """A cursor of psycopg or of Django."""

    def execute(self, query: str, params: list[Any], /) -> object: ...


# Ids as uuid7 makes them: 48 bits of milliseconds, then bits that distinguish ids of the same millisecond.
ORDERS_AND_EVENTS = f"""
WITH stored AS (
INSERT INTO orders_order (
    id, account_id, client_order_id, created_at, updated_at, type, side, instrument, quantity, attempt_count, give_up_at,
    may_be_at_exchange, status, next_attempt_at, error_code, error_message,
    exchange_order_id, placed_at, execution_status, filled_quantity, reported_quantity, filled_value, average_price
)
SELECT
    id, account_id, id::text, at, at, 'market', 'buy', 'AAPL_2025_03', 100, 0, now() + interval '1 day',
    false, status, CASE status WHEN 'pending' THEN at END,
    CASE status WHEN 'failed' THEN 'exchange_unavailable' END, CASE status WHEN 'failed' THEN 'not available' END,
    CASE status WHEN 'completed' THEN 'old-' || n END, CASE status WHEN 'completed' THEN at END,
    CASE status WHEN 'completed' THEN CASE WHEN is_open THEN 'new' ELSE 'filled' END END,
    CASE WHEN is_filled THEN 100 ELSE 0 END,
    CASE WHEN is_filled THEN 100 ELSE 0 END,
    CASE WHEN is_filled THEN 1000 ELSE 0 END,
    CASE WHEN is_filled THEN 10 END
FROM (
    SELECT *, status = 'completed' AND NOT is_open AS is_filled
    FROM (
        SELECT
            n, at, accounts[1 + n %% cardinality(accounts)] AS account_id,
            CASE WHEN n < {FAILED_ORDERS} THEN 'failed' WHEN n >= count - {DUE_ORDERS} THEN 'pending' ELSE 'completed' END
                AS status,
            n >= count - {DUE_ORDERS + OPEN_ORDERS} AS is_open,
            (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0')
                || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid AS id
        FROM (
            SELECT n, count, accounts, now() - interval '1 hour' - (count - n) * interval '10 ms' AS at
            FROM generate_series(%s::bigint, %s::bigint) AS n, (SELECT %s::bigint AS count, %s::integer[] AS accounts) AS given
        ) AS moments
    ) AS states
) AS orders
RETURNING id, account_id, status, created_at
)
INSERT INTO orders_orderevent (event_id, order_id, account_id, type, data, occurred_at, recorded_at)
SELECT kind || ':' || id, id, account_id, kind, '{{}}', created_at, created_at
FROM stored, (VALUES ('accepted'), ('placed')) AS kinds(kind)
WHERE kind = 'accepted' OR status = 'completed'
"""  # noqa: S608 - numbers of our own


def fill(cursor: Cursor, count: int, accounts: list[int]) -> None:
    """Store `count` old orders and their events, spread over the accounts. The tables have to be empty.

    The connection has to be in autocommit mode.
    """
    for start in range(0, count, ORDERS_PER_TRANSACTION):
        last = min(start + ORDERS_PER_TRANSACTION, count) - 1
        cursor.execute(ORDERS_AND_EVENTS, [start, last, count, accounts])
    cursor.execute("VACUUM (ANALYZE) orders_order, orders_orderevent", [])
