"""Connections that send nothing, or a byte of a request's head now and then."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from infrastructure.sockets import allow_many_sockets

COUNT = 1500
HEAD_SO_FAR = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


class SilentClients:
    """Many connections of both kinds."""

    def __init__(self, silent: list[socket.socket], dripping: list[socket.socket]) -> None:
        self.silent = silent
        self.dripping = dripping

    def drip(self) -> None:
        """Send one more byte over each dripping connection that is still open."""
        for client in self.dripping:
            with suppress(OSError):
                client.send(b"x")

    def wait_until_closed(self) -> None:
        """Wait until the server has closed the first of each kind. Raises TimeoutError when it does not."""
        for client in (self.silent[0], self.dripping[0]):
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""


@contextmanager
def silent_clients(port: int, timeout_s: float) -> Iterator[SilentClients]:
    """Open COUNT connections to the port; no call on them takes longer than `timeout_s`."""
    allow_many_sockets()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=timeout_s)) for _ in range(COUNT)]
        dripping = clients[::2]
        for client in dripping:
            client.sendall(HEAD_SO_FAR)
        yield SilentClients(clients[1::2], dripping)
