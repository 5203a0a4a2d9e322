"""Test transactions that write events: their statement, and the steps they may take."""

from hypothesis import strategies as st

INSERT = (
    "INSERT INTO orders_orderevent (event_id, order_id, account_id, type, data, occurred_at, recorded_at)"
    " VALUES (%s, %s, %s, 'retrying', '{}', now(), now())"
)
WRITERS = 3
STEPS = st.lists(st.tuples(st.sampled_from(["write", "commit", "roll back", "read"]), st.integers(0, WRITERS - 1)), max_size=30)
