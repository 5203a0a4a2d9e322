"""Sample frames of the execution feed for tests to vary."""

from hypothesis import strategies as st

FILL = {
    "sequence": 7,
    "execution_id": "E7",
    "client_order_id": "0195a5c0-0000-7000-8000-000000000001",
    "exchange_order_id": "X1",
    "account": "demo",
    "type": "partially_filled",
    "last_quantity": 3,
    "last_price": "12.50",
    "filled_quantity": 4,
    "average_price": "12.375",
    "reason": None,
    "occurred_at": "2025-03-01T12:00:00.000001Z",
}
NEW = FILL | {"type": "new", "last_quantity": None, "last_price": None, "filled_quantity": 0, "average_price": None}
SESSION = {"type": "session", "session_id": "S1", "first_sequence": 1, "last_sequence": 0}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8) | st.decimals().map(str),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
