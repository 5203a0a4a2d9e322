"""Connections that never send a whole request do not keep others from being served."""

from time import monotonic

from notifications.tests.order_changes import accept
from testsupport.silent_clients import silent_clients

# Far below the time after which the server closes them, and with that makes room.
SERVED_WITHIN_S = 5.0
CLOSED_WITHIN_S = 25.0


def test_others_are_served_beside_1500_silent_and_dripping_connections(service, clients, anna, token):
    begun_at = monotonic()
    with silent_clients(service.port, timeout_s=CLOSED_WITHIN_S) as silent:
        for _ in range(10):
            silent.drip()
            started = monotonic()
            client = clients.subscribe(service.url, token)
            assert service.is_live()
            accept(anna)
            client.events(1)
            assert monotonic() - started < SERVED_WITHIN_S
        silent.wait_until_closed()
        assert monotonic() - begun_at < CLOSED_WITHIN_S
