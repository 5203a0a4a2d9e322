"""TCP ports on 127.0.0.1 for what is about to be started, on this machine and nowhere else."""

import random
import socket

# Below the ports that Linux and macOS hand out to outgoing connections: one of those could take ours before we listen there,
# or during a restart.
PORTS = range(20_000, 32_000)
ATTEMPTS = 200


class NoFreePortError(Exception):
    """All those that were tried are taken; the message is one line."""


def free_port() -> int:
    """At random, so that two who ask at once hardly ever get the same. Raises NoFreePortError."""
    for port in random.sample(PORTS, ATTEMPTS):
        if is_free(port):
            return port
    raise NoFreePortError(f"no free TCP port between {PORTS.start} and {PORTS.stop}")


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # What a closed connection leaves behind for a minute does not make the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True
