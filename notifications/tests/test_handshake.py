"""Whatever a client sends with its handshake is read, or refused with a closing that it can be told."""

from typing import Any
from urllib.parse import quote

from hypothesis import example, given, settings
from hypothesis import strategies as st

from notifications.closings import ConnectionRefused
from notifications.handshake import MAX_EVENT_ID_LENGTH, check_origin, read_address, read_after, read_credentials

BYTES = st.binary(max_size=60)
NAMES = st.sampled_from([b"authorization", b"Authorization", b"cookie", b"origin", b"x-forwarded-for", b"other"])
WORDS = st.sampled_from(
    [b"Token abc", b"token", b"sessionid=abc", b"sessionid=", b"http://localhost:1", b"http://[::1", b"null", b"::1, x"]
)
HEADERS = st.lists(st.tuples(NAMES, BYTES | WORDS), max_size=4)
QUERIES = (
    BYTES | st.text(max_size=40).map(lambda text: f"after={quote(text)}".encode()) | BYTES.map(lambda part: b"after=" + part)
)


def scope(query: bytes = b"", headers: Any = (), subprotocols: Any = ()) -> dict[str, Any]:
    return {"query_string": query, "headers": headers, "subprotocols": subprotocols, "client": ("192.0.2.1", 1)}


def closing_of(read: Any, given: dict[str, Any]) -> Any:
    """What comes of reading; a refusal has to fit into a close frame (RFC 6455, section 5.5)."""
    try:
        return read(given)
    except ConnectionRefused as error:
        refused = error
    assert 4400 <= refused.closing.code < 4500
    assert len(refused.closing.reason.encode()) <= 123
    return refused


@settings(deadline=None)
@given(QUERIES)
@example(b"after=%00")
@example(b"after=a&after=b")
@example(b"after=" + b"x" * 200)
@example(b"after=%ff")
@example(b"&" * 100)
def test_any_query(query: bytes) -> None:
    after = closing_of(read_after, scope(query))
    if isinstance(after, str):
        assert 0 < len(after) <= MAX_EVENT_ID_LENGTH
        assert "\0" not in after
        # It can be asked for in the database.
        after.encode()
    else:
        assert isinstance(after, ConnectionRefused) or (after is None and not query)


@settings(deadline=None)
@given(HEADERS, st.lists(st.text(max_size=20) | st.just("token"), max_size=3))
def test_any_headers(headers: list[tuple[bytes, bytes]], subprotocols: list[str]) -> None:
    given = scope(headers=headers, subprotocols=subprotocols)
    credentials = closing_of(read_credentials, given)
    if not isinstance(credentials, ConnectionRefused):
        assert credentials.token is None or credentials.session_key is None
        # Whoever presents something is never taken for somebody who presents nothing.
        if subprotocols or any(name.lower() == b"authorization" for name, _ in headers):
            assert credentials.token is not None
    closing_of(check_origin, given)
    assert read_address(given) == "192.0.2.1"
