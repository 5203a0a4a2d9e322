import socket
from contextlib import ExitStack

import pytest

from lemon_market import free_ports
from lemon_market.free_ports import NoFreePortError, free_port


def test_no_outgoing_connection_of_this_machine_can_take_one() -> None:
    """The kernel gives each of them a port of its own range, also one that we asked for and do not listen on yet."""
    server = socket.create_server(("127.0.0.1", 0))
    with ExitStack() as held:
        held.enter_context(server)
        given = [held.enter_context(socket.create_connection(server.getsockname())).getsockname()[1] for _ in range(50)]
    assert not any(port in range(free_ports.PORTS.start, free_ports.PORTS.stop + 1) for port in given)


def test_ports_in_a_row_are_all_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        first = free_port(in_a_row=4)
        taken.bind(("127.0.0.1", first + 1))
        taken.listen()
        monkeypatch.setattr(free_ports, "PORTS", range(first, first + 3))
        monkeypatch.setattr(free_ports, "ATTEMPTS", 3)
        assert free_port(in_a_row=1) in {first, first + 2}
        assert free_port(in_a_row=2) == first + 2


def test_that_all_are_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(free_ports, "PORTS", range(port, port + 1))
        monkeypatch.setattr(free_ports, "ATTEMPTS", 1)
        with pytest.raises(NoFreePortError, match=f"no free TCP port between {port}"):
            free_port()
