"""Finds free TCP ports on 127.0.0.1 for servers about to be started."""

import random
import socket

# Below the ports that Linux and macOS assign to outgoing connections: such a connection could take our port before we listen
# on it, or during a restart.
PORTS = range(20_000, 32_000)
ATTEMPTS = 200


class NoFreePortError(Exception):
    """Every port that was tried is taken; the message is one line."""


def free_port() -> int:
    """Pick a free port at random, so that two concurrent callers hardly ever get the same. Raises NoFreePortError."""
    for port in random.sample(PORTS, ATTEMPTS):
        if is_free(port):
            return port
    raise NoFreePortError(f"no free TCP port between {PORTS.start} and {PORTS.stop}")


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # A port is free even while closed connections linger on it for a minute (TIME_WAIT).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True
