import socket
from contextlib import ExitStack

import pytest

from devstack import free_ports
from devstack.free_ports import NoFreePortError, free_port


def test_no_outgoing_connection_of_this_machine_can_take_one() -> None:
    """The kernel gives each of them a port of its own range, also one that we asked for and do not listen on yet."""
    server = socket.create_server(("127.0.0.1", 0))
    with ExitStack() as held:
        held.enter_context(server)
        given = [held.enter_context(socket.create_connection(server.getsockname())).getsockname()[1] for _ in range(50)]
    assert not any(port in free_ports.PORTS for port in given)


def test_one_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        first = free_port()
        taken.bind(("127.0.0.1", first))
        taken.listen()
        monkeypatch.setattr(free_ports, "PORTS", range(first, first + 2))
        monkeypatch.setattr(free_ports, "ATTEMPTS", 2)
        assert free_port() == first + 1


def test_that_all_are_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(free_ports, "PORTS", range(port, port + 1))
        monkeypatch.setattr(free_ports, "ATTEMPTS", 1)
        with pytest.raises(NoFreePortError, match=f"no free TCP port between {port}"):
            free_port()
