"""Messages of the topic `order_updates` that no relay of ours has written."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from notifications.topic import read_message
from orders.kafka.clients import Record

WORDS = st.sampled_from(["1", "-1", "", "٣", "1_0", "9" * 5000, "version"]) | st.text(max_size=8)
HEADERS = st.dictionaries(st.sampled_from(["version", "account", "tx"]) | st.text(max_size=4), WORDS, max_size=4)


def record(value: bytes, headers: dict[str, str]) -> Record:
    return Record("order_updates", 0, 0, None, value, headers)


def test_a_message_of_the_relay_is_read() -> None:
    assert read_message(record(b"{}", {"version": "1", "account": "7", "tx": "9"})) == (7, 9, "{}")


@settings(deadline=None)
@given(st.binary(max_size=20), HEADERS)
@example(b"\xff", {"version": "1", "account": "7", "tx": "9"})
@example(b"", {"version": "1", "account": "7"})
def test_any_other_is_refused_by_the_error_that_the_stream_passes_over(value: bytes, headers: dict[str, str]) -> None:
    try:
        account_id, tx, text = read_message(record(value, headers))
    except ValueError:
        return
    assert headers["version"] == "1"
    assert type(account_id) is type(tx) is int
    assert text.encode() == value
