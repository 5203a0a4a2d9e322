"""Messages that nobody of ours has written: read, or kept aside, and never a reason to stop."""

from typing import Any

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exchange.reports import BadReport, ExecutionReport
from orders.executions.kafka_recorder import read_report
from orders.kafka.clients import Record, record_of
from testsupport.report_frames import FILL, NEW, SESSION, VALUES

REPORTS = st.dictionaries(st.sampled_from(["type", *FILL]), VALUES, max_size=4).map(lambda changes: orjson.dumps(FILL | changes))
FRAMES = st.binary(max_size=100) | REPORTS | st.sampled_from([orjson.dumps(SESSION), orjson.dumps(NEW), b""])
HEADERS = st.dictionaries(
    st.sampled_from(["version", "session"]) | st.text(max_size=4),
    st.sampled_from(["1", "2", ""]) | st.text(max_size=4),
    max_size=3,
)


@settings(deadline=None)
@given(FRAMES, HEADERS)
@example(orjson.dumps(SESSION), {"version": "1", "session": "s"})
@example(orjson.dumps(NEW), {"version": "1"})
@example(b"\0\xff", {"version": "1", "session": "s"})
def test_any_message_of_the_topic_of_reports_is_a_report_or_is_kept_aside(frame: bytes, headers: dict[str, str]) -> None:
    report = read_report(Record("executions", 0, 0, None, frame, headers))
    if isinstance(report, ExecutionReport):
        assert headers["version"] == "1"
        assert "session" in headers
    else:
        assert isinstance(report, BadReport)
        assert report.error
        # PostgreSQL can store it.
        assert "\0" not in report.raw
        report.raw.encode()


class Message:
    """As librdkafka gives it: bytes that nobody has looked at yet, of a wake-up or of anything else."""

    def __init__(self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]] | None) -> None:
        self.given = {"topic": "orders", "partition": 0, "offset": 7, "key": key, "value": value, "headers": headers}

    def __getattr__(self, name: str) -> Any:
        return lambda: self.given[name]


ANY = st.none() | st.binary(max_size=20)


@given(ANY, ANY, st.none() | st.lists(st.tuples(st.text(max_size=4), ANY), max_size=3))
def test_any_message_can_be_taken_from_a_topic(key: bytes | None, value: bytes | None, headers: Any) -> None:
    """A wake-up is not read any further: whatever it holds, it wakes."""
    record = record_of(Message(key, value, headers))  # type: ignore[arg-type]
    assert record.value == (value or b"")
    assert (record.key is None) == (key is None)
    assert all(type(text) is str for text in record.headers.values())
