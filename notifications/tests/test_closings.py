import signal

from django.contrib.auth.models import User

from notifications import closings
from notifications.closings import CloseReason
from notifications.tests.order_changes import accept, token_of
from testsupport.raw_websocket import CLOSE, TEXT, RawClient, close_frame

ALL = [value for value in vars(closings).values() if isinstance(value, CloseReason)]


def test_a_reason_fits_into_a_close_frame():
    assert len(ALL) >= 12
    assert max(len(closing.reason.encode()) for closing in ALL) <= 123


FOREIGN_ORIGINS = [
    "https://evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example:80",
    "null",
    "",
    "nonsense",
]
OUR_ORIGINS = ["http://localhost", "http://localhost:3000", "https://127.0.0.1:8443", "HTTP://LOCALHOST"]
ODD_QUERIES = ["after", "after=", "after=a&after=b", "before=a", "after=a&x=y", "after=%00", "after=%ff", "&", "%"]
ODD_QUERIES += ["after=" + "x" * 129, "a=b&" * 20]
ODD_FRAMES = ["", "hello", "[]", "{}", '{"type":"subscribe"}', '{"type":"ping","x":1}', '"ping"', b'{"type":"ping"}', b""]
LARGE_FRAMES = ["x" * 1025, "\u20ac" * 400, b"x" * 1025, "x" * 2_000_000]


def test_only_pages_of_ours_may_connect_from_any_port(service, clients, token):
    for origin in FOREIGN_ORIGINS:
        assert clients.connect(service.url, token, Origin=origin).closing() == closings.ORIGIN_FORBIDDEN
    for origin in OUR_ORIGINS:
        assert clients.subscribe(service.url, token, Origin=origin).is_alive()


def test_a_query_that_is_not_understood(service, clients, token):
    for query in ODD_QUERIES:
        code, reason = clients.connect(f"{service.url}?{query}", token).closing()
        assert code == 4400
        assert "after" in reason


def test_a_token_in_the_address_is_refused_even_if_it_is_right(service, clients, token):
    for name in ("token", "Authorization", "access_token"):
        code, reason = clients.connect(f"{service.url}?{name}={token}").closing()
        assert code == 4400
        assert "not safe" in reason


def test_an_unknown_event_cannot_be_told_from_somebody_elses(service, clients, client, anna, chief):
    accept(anna)
    [event] = client.events(1)
    stranger = token_of(User.objects.create_user("bert"))
    assert clients.connect(service.url, stranger, after=event["event_id"]).closing() == closings.NO_SUCH_EVENT
    assert clients.connect(service.url, stranger, after="never happened \u20ac").closing() == closings.NO_SUCH_EVENT
    assert clients.subscribe(service.url, token_of(chief), after=event["event_id"]).is_alive()


def test_a_frame_that_is_not_understood_or_too_large(service, clients, token):
    cases = [(frame, closings.FRAME_NOT_UNDERSTOOD) for frame in ODD_FRAMES]
    for frame, closing in [*cases, *((frame, closings.FRAME_TOO_LARGE) for frame in LARGE_FRAMES)]:
        client = clients.subscribe(service.url, token)
        client.send(frame)
        assert client.closing() == closing


def test_an_address_where_nothing_is(service, clients, token):
    elsewhere = clients.connect(service.url.replace("/ws/orders", "/ws/everything"), token)
    assert elsewhere.closing() == closings.NO_SUCH_ADDRESS


def test_an_account_has_a_limited_number_of_connections(trial_service, clients, anna, token):
    three = [clients.subscribe(trial_service.url, token) for _ in range(3)]
    assert clients.connect(trial_service.url, token_of(anna)).closing() == closings.TOO_MANY_OF_ACCOUNT
    assert [client.is_alive() for client in three] == [True] * 3
    three[0].close()
    assert clients.subscribe(trial_service.url, token).is_alive()


def test_a_service_that_stops_says_so(mortal_service, clients, token):
    client = clients.subscribe(mortal_service.url, token)
    with RawClient(mortal_service.port, token) as raw:
        assert next(raw.frames())[0] == TEXT
        assert mortal_service.stop(signal.SIGTERM) == 0
        assert client.closing() == closings.STOPPING
        frames = list(raw.frames())
    assert [(opcode, close_frame(payload)) for opcode, payload in frames] == [(CLOSE, closings.STOPPING)]
