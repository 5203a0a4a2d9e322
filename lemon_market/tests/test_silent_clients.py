"""Connections that never send a whole request do not keep others from being served."""

from testsupport.silent_clients import silent_clients
from testsupport.web_process import WebProcess

# Far below the time after which the server closes them, and with that makes room.
SERVED_WITHIN_S = 5.0


def test_others_are_served_beside_1500_silent_and_dripping_connections(web: WebProcess) -> None:
    with silent_clients(web.port, timeout_s=30) as silent:
        answers = []
        for _ in range(10):
            silent.drip()
            answers += [web.ask("GET", "/health/ready"), web.order()]
        assert [answer.status for answer in answers] == [200, 202] * 10
        assert max(answer.took_s for answer in answers) < SERVED_WITHIN_S
