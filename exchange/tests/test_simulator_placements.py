"""What the simulated exchange takes for a placement."""

import http.client
import json
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.simulator.placements import Terms, price_text, read_placement
from exchange.tests.scenery import LIMIT
from exchange.untrusted import BadValue

pytestmark = pytest.mark.simulator(shared=True)


def test_a_limit_order_is_read_in_whole_cents():
    placement = read_placement(orjson.dumps(LIMIT))
    assert placement.terms == Terms("demo", "limit", "sell", "AAPL_2025_03", 1050, 10)
    assert placement.valid_until == datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "cents"), [("0.01", 1), ("7", 700), ("7.00", 700), ("007.1", 710), ("9" * 17 + ".99", 10**19 - 1)]
)
def test_prices_are_exact(text, cents):
    assert read_placement(orjson.dumps(LIMIT | {"limit_price": text})).terms.limit_cents == cents


@settings(deadline=None)
@given(st.integers(1, 10**19 - 1))
def test_a_price_is_written_as_it_is_read(cents):
    assert read_placement(orjson.dumps(LIMIT | {"limit_price": price_text(cents)})).terms.limit_cents == cents


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"client_order_id": ""}, "client_order_id"),
        ({"client_order_id": "x" * 65}, "client_order_id"),
        ({"account": 5}, "account"),
        ({"type": "stop"}, "type"),
        ({"type": ["limit"]}, "type"),
        ({"type": "market"}, "limit_price"),
        ({"side": None}, "side"),
        ({"instrument": "AAPL"}, "instrument"),
        ({"instrument": "AAPL_2025_033"}, "instrument"),
        ({"limit_price": None}, "limit_price"),
        ({"limit_price": "0.00"}, "limit_price"),
        ({"limit_price": "-1"}, "limit_price"),
        ({"limit_price": "1.001"}, "limit_price"),
        ({"limit_price": "NaN"}, "limit_price"),
        ({"limit_price": 10.5}, "limit_price"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": "10"}, "quantity"),
        ({"quantity": 2**63}, "quantity"),
        ({"valid_until": None}, "valid_until"),
        ({"valid_until": "2025-03-01T12:00:00"}, "valid_until"),
    ],
)
def test_a_malformed_placement_is_refused_with_the_name_of_the_field(simulator, change, named):
    body = orjson.dumps(LIMIT | change)
    with pytest.raises(BadValue, match=named):
        read_placement(body)
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=10)
    connection.request("POST", "/orders", body)
    response = connection.getresponse()
    assert response.status == 400
    assert json.loads(response.read())["reason"].startswith(named)
    connection.close()
    assert simulator.health()["orders"] == 0


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(LIMIT)), st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    )
)
def test_nothing_else_is_ever_taken(changes):
    try:
        terms = read_placement(orjson.dumps(LIMIT | changes)).terms
    except BadValue:
        return
    assert len(terms.instrument) == 12
    assert terms.quantity > 0
    assert (terms.type == "limit") == (terms.limit_cents is not None)
