"""Whatever a client sends, the service answers or closes, and goes on serving others."""

import json

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from notifications.closings import FRAME_NOT_UNDERSTOOD, FRAME_TOO_LARGE
from testsupport.raw_websocket import BINARY, CLOSE, PING, PONG, TEXT, RawClient, close_frame

quickly = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def answer(client: RawClient) -> tuple[int, bytes]:
    """The first frame that is neither the hello nor a heartbeat."""
    for opcode, payload in client.frames():
        if opcode != TEXT or json.loads(payload)["type"] not in {"hello", "heartbeat"}:
            return opcode, payload
    return CLOSE, b"\x03\xee"


@quickly
@given(frame=st.text(max_size=300) | DOCUMENTS.map(json.dumps) | st.text(min_size=1100, max_size=1200))
@example(frame="[" * 1000)
@example(frame='{"type":"ping","type":"ping"}')
def test_any_text(service, token, frame) -> None:
    with RawClient(service.port, token) as client:
        client.send(TEXT, frame.encode())
        opcode, payload = answer(client)
    if opcode == TEXT:
        assert json.loads(frame) == {"type": "ping"}
        assert json.loads(payload) == {"type": "pong"}
    else:
        expected = FRAME_TOO_LARGE if len(frame.encode()) > 1024 else FRAME_NOT_UNDERSTOOD
        assert (opcode, close_frame(payload)) == (CLOSE, expected)


@quickly
@given(opcode=st.integers(0, 15), payload=st.binary(max_size=200), is_last=st.booleans())
def test_any_frame(service, client, token, opcode, payload, is_last) -> None:
    with RawClient(service.port, token) as odd:
        odd.send(opcode, payload, is_last=is_last)
        if opcode in {TEXT, BINARY} and not is_last:
            odd.send(0, b"")
        if opcode == PING and is_last and len(payload) < 126:
            assert answer(odd) == (PONG, payload)
        elif not (opcode == PONG and is_last and len(payload) < 126):
            assert answer(odd)[0] == CLOSE
    assert client.is_alive()


@quickly
@given(stream=st.binary(min_size=1, max_size=500))
def test_any_bytes(service, client, token, stream) -> None:
    with RawClient(service.port, token) as odd:
        odd.socket.sendall(stream)
    assert client.is_alive()
