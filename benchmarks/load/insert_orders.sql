-- Inserts the row that POST /orders stores, :count times in one transaction.
INSERT INTO orders_order (
    id, account_id, client_order_id, created_at, updated_at, type, side, instrument, quantity, status, attempt_count,
    next_attempt_at, give_up_at, may_be_at_exchange, filled_quantity, filled_value
)
SELECT
    id, :account, id::text, now(), now(), 'market', 'buy', 'AAPL_2025_03', 100, 'pending', 0,
    now(), now() + interval '15 minutes', false, 0, 0
FROM (SELECT uuidv7() AS id FROM generate_series(1, :count)) AS new;
