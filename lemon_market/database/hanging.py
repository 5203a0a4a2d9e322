"""Whether the database server hangs, as one process has found: asked once for all, and not by each request for as long again.

Requests that queue for a thread would otherwise wait twice: until those before them have given up, and then themselves.
"""

import threading
from typing import Any

import psycopg

ASK_AGAIN_S = 0.2


class Hanging:
    """`is_certain` from a statement that was not answered in time until anything is answered again."""

    def __init__(self) -> None:
        self.is_certain = False
        self.lock = threading.Lock()

    def begin(self, parameters: dict[str, Any]) -> None:
        """A statement was not answered. Connects in the background, again and again, until the server says anything at all."""
        with self.lock:
            if self.is_certain:
                return
            self.is_certain = True
        threading.Thread(target=self.ask, args=[parameters], name="is it back", daemon=True).start()

    def ask(self, parameters: dict[str, Any]) -> None:
        pause = threading.Event()
        while self.is_certain:
            try:
                psycopg.connect(**parameters).close()
            except psycopg.errors.ConnectionTimeout:
                pause.wait(ASK_AGAIN_S)
            except psycopg.OperationalError:
                # It is down, or starting: whoever asks is told so without having to wait.
                self.is_certain = False
            else:
                self.is_certain = False


hanging = Hanging()
