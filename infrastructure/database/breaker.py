"""Whether the database server hangs: a process finds out once, for all of its requests.

Requests that queue for a thread would otherwise wait twice: until those before them have given up, and then for their own
answer. A slow statement proves nothing, since it may wait for a lock, but a server that hangs does not answer a new
connection either.
"""

import threading
from typing import Any

import psycopg

PROBE_INTERVAL_S = 0.2


class DatabaseBreaker:
    """`is_open` once a connection attempt was not answered in time, until the server answers anything again."""

    def __init__(self) -> None:
        self.is_open = False
        self.is_probing = False
        self.lock = threading.Lock()

    def suspect(self, parameters: dict[str, Any]) -> None:
        """Called when a statement is slow: connect in the background, again and again, until the server answers at all."""
        with self.lock:
            if self.is_probing:
                return
            self.is_probing = True
        threading.Thread(target=self.probe, args=[parameters], name="database probe", daemon=True).start()

    def probe(self, parameters: dict[str, Any]) -> None:
        pause = threading.Event()
        try:
            while not answers(parameters):
                self.is_open = True
                pause.wait(PROBE_INTERVAL_S)
        finally:
            self.is_open = self.is_probing = False


def answers(parameters: dict[str, Any]) -> bool:
    """Whether the server answers within the `connect_timeout` of the parameters."""
    try:
        psycopg.connect(**parameters).close()
    except psycopg.errors.ConnectionTimeout:
        return False
    except psycopg.OperationalError:
        # It is down, starting or full, but each of these fails at once and keeps no request waiting.
        return True
    return True


database_breaker = DatabaseBreaker()
