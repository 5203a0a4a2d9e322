"""Reading the frames of the execution feed: what is believed, and what is kept aside."""

from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.reports import (
    MAX_FRAME_BYTES,
    STATUS_AFTER,
    TERMINAL_STATUSES,
    BadReport,
    ExecutionReport,
    OrderStatus,
    ReportType,
    Session,
    parse_frame,
    read_envelope,
)
from testsupport.report_frames import FILL, NEW, SESSION, VALUES


def test_a_fill_is_read_with_exact_decimals_and_utc():
    assert parse_frame(orjson.dumps(FILL)) == ExecutionReport(
        sequence=7,
        execution_id="E7",
        client_order_id="0195a5c0-0000-7000-8000-000000000001",
        exchange_order_id="X1",
        account="demo",
        type=ReportType.PARTIALLY_FILLED,
        last_quantity=3,
        last_price=Decimal("12.50"),
        filled_quantity=4,
        average_price=Decimal("12.375"),
        reason=None,
        occurred_at=datetime(2025, 3, 1, 12, 0, 0, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("report_type", sorted(set(ReportType) - {ReportType.PARTIALLY_FILLED, ReportType.FILLED}))
def test_every_other_report_needs_no_execution(report_type):
    report = parse_frame(orjson.dumps(NEW | {"type": report_type.value}))
    assert isinstance(report, ExecutionReport)
    assert (report.type, report.last_quantity, report.last_price) == (report_type, None, None)


def test_a_time_with_another_offset_is_brought_to_utc():
    report = parse_frame(orjson.dumps(NEW | {"occurred_at": "2025-03-01T14:00:00+02:00"}))
    assert isinstance(report, ExecutionReport)
    assert report.occurred_at == datetime(2025, 3, 1, 12, tzinfo=UTC)


def test_a_session_is_read():
    assert parse_frame(orjson.dumps(SESSION)) == Session("S1", 1, 0)


def test_a_reason_is_bounded_and_can_be_stored():
    report = parse_frame(orjson.dumps(NEW | {"reason": "a\0b" + "x" * 999}))
    assert isinstance(report, ExecutionReport)
    assert report.reason == "a b" + "x" * 497


def test_every_report_but_a_rejected_cancel_names_the_state_that_follows():
    assert set(STATUS_AFTER) == set(ReportType) - {ReportType.CANCEL_REJECTED}
    assert set(STATUS_AFTER.values()) == set(OrderStatus) - {OrderStatus.PENDING_NEW}
    assert set(OrderStatus) > TERMINAL_STATUSES


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sequence": 0}, "sequence"),
        ({"sequence": "7"}, "sequence"),
        ({"sequence": 7.0}, "sequence"),
        ({"sequence": 2**63}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"execution_id": ""}, "execution_id"),
        ({"execution_id": 7}, "execution_id"),
        ({"client_order_id": "a\0"}, "client_order_id"),
        ({"client_order_id": "a" * 65}, "client_order_id"),
        ({"exchange_order_id": None}, "exchange_order_id"),
        ({"account": "a" * 151}, "account"),
        ({"type": "exploded"}, "type"),
        ({"type": ["new"]}, "type"),
        ({"type": None}, "type"),
        ({"last_quantity": 0}, "last_quantity"),
        ({"last_quantity": None}, "last_quantity"),
        ({"last_quantity": 5}, "last_quantity"),
        ({"last_price": None}, "last_price"),
        ({"last_price": "NaN"}, "last_price"),
        ({"last_price": "Infinity"}, "last_price"),
        ({"last_price": "-1"}, "last_price"),
        ({"last_price": "1e5"}, "last_price"),
        ({"last_price": "1_0"}, "last_price"),
        ({"last_price": "\u0661"}, "last_price"),
        ({"last_price": " 1"}, "last_price"),
        ({"last_price": "1\n"}, "last_price"),
        ({"last_price": 12.5}, "last_price"),
        ({"last_price": "0.123456789"}, "last_price"),
        ({"last_price": "9" * 18}, "last_price"),
        ({"filled_quantity": -1}, "filled_quantity"),
        ({"average_price": None}, "average_price"),
        ({"reason": 5}, "reason"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"occurred_at": "2025-03-01T12:00:00"}, "occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at"),
        ({"occurred_at": 1740830400}, "occurred_at"),
    ],
)
def test_a_wrong_value_makes_a_bad_report_that_names_the_field(change, named):
    frame = orjson.dumps(FILL | change)
    message = parse_frame(frame)
    assert isinstance(message, BadReport)
    assert message.error.startswith(named)
    assert message.raw == frame.decode()
    assert message.sequence == (None if named == "sequence" else 7)


@pytest.mark.parametrize("name", sorted(set(FILL) - {"reason"}))
def test_a_missing_field_makes_a_bad_report(name):
    message = parse_frame(orjson.dumps({key: value for key, value in FILL.items() if key != name}))
    assert isinstance(message, BadReport)
    assert name in message.error


@pytest.mark.parametrize(
    "frame", [b"", b"hello", b"[]", b"null", b"7", b'{"sequence": 7', b"\xff\xfe", b'{"a": NaN}', b"[" * 5000, b'{"\\ud800": 1}']
)
def test_a_frame_that_is_no_object_makes_a_bad_report(frame):
    message = parse_frame(frame)
    assert isinstance(message, BadReport)
    assert message.sequence is None


@pytest.mark.parametrize(
    "change", [{"session_id": ""}, {"first_sequence": -1}, {"last_sequence": None}, {"first_sequence": 9, "last_sequence": 7}]
)
def test_a_wrong_session_is_a_bad_report(change):
    assert isinstance(parse_frame(orjson.dumps(SESSION | change)), BadReport)


def test_an_oversized_frame_is_shortened_and_still_tells_its_sequence():
    message = parse_frame(orjson.dumps(FILL | {"padding": "x" * MAX_FRAME_BYTES}))
    assert isinstance(message, BadReport)
    assert message.sequence == 7
    assert len(message.raw) == MAX_FRAME_BYTES


def test_the_raw_text_of_a_bad_report_can_be_stored():
    message = parse_frame(b"a\0b\xff")
    assert isinstance(message, BadReport)
    assert message.raw == "a\ufffdb\ufffd"


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_reading_raise(frame):
    message = parse_frame(frame)
    assert isinstance(message, BadReport)
    assert "\0" not in message.raw


@settings(deadline=None)
@given(
    st.binary(max_size=200) | st.dictionaries(st.sampled_from(["type", *FILL, *SESSION]), VALUES, max_size=5).map(orjson.dumps)
)
def test_an_envelope_says_the_same_as_the_whole_frame(frame):
    """The one is read by whoever passes a frame on, the other by whoever applies it."""
    envelope, message = read_envelope(frame), parse_frame(frame)
    if isinstance(envelope, Session) or isinstance(message, Session):
        assert envelope == message
    else:
        assert envelope.frame == frame
        assert envelope.sequence == message.sequence
        assert envelope.client_order_id is None or type(envelope.client_order_id) is str


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(FILL)), VALUES, min_size=1, max_size=4))
def test_whatever_stands_in_its_fields_a_report_has_the_right_types_or_is_bad(changes):
    message = parse_frame(orjson.dumps(FILL | changes))
    if isinstance(message, ExecutionReport):
        assert type(message.sequence) is type(message.filled_quantity) is int
        assert message.last_price is None or message.last_price.is_finite()
        assert message.occurred_at.tzinfo is UTC
        assert all(value.isprintable() for value in (message.execution_id, message.client_order_id, message.account))
    else:
        assert isinstance(message, BadReport)
