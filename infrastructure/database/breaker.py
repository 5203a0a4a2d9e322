"""Whether the database server hangs, as one process has found: asked once for all, and not by each request for as long again.

Requests that queue for a thread would otherwise wait twice: until those before them have given up, and then themselves.
A statement that takes long proves nothing, since it may wait for a lock. A server that hangs does not answer a new
connection either.
"""

import threading
from typing import Any

import psycopg

PROBE_INTERVAL_S = 0.2


class DatabaseBreaker:
    """`is_open` from a connection that was not answered in time until anything is answered again."""

    def __init__(self) -> None:
        self.is_open = False
        self.is_probing = False
        self.lock = threading.Lock()

    def suspect(self, parameters: dict[str, Any]) -> None:
        """A statement takes long. Connects in the background, again and again, until the server says anything at all."""
        with self.lock:
            if self.is_probing:
                return
            self.is_probing = True
        threading.Thread(target=self.probe, args=[parameters], name="does it answer", daemon=True).start()

    def probe(self, parameters: dict[str, Any]) -> None:
        pause = threading.Event()
        try:
            while not answers(parameters):
                self.is_open = True
                pause.wait(PROBE_INTERVAL_S)
        finally:
            self.is_open = self.is_probing = False


def answers(parameters: dict[str, Any]) -> bool:
    """Within the `connect_timeout` of the parameters."""
    try:
        psycopg.connect(**parameters).close()
    except psycopg.errors.ConnectionTimeout:
        return False
    except psycopg.OperationalError:
        # It is down, or starting, or full: whoever asks is told so without having to wait.
        return True
    return True


database_breaker = DatabaseBreaker()
