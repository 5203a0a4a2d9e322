"""Keeps slow request bodies from tying up every thread of the web process.

The server (granian 2.8) has no time limit for a body, so a thread that reads one waits for as long as the client likes.
Only some threads may therefore read bodies from one address, and some threads never read bodies at all. A body that is sent
at once is read in microseconds. When no thread may read, a request waits for a moment and is then told to try again.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings

from infrastructure.client_address import of_environment

OF_ONE_ADDRESS = settings.WEB_THREADS // 4
OF_ALL = settings.WEB_THREADS * 3 // 4
PATIENCE_S = 1.0
BUSY = {"detail": "Too many requests have not sent their whole body yet. Try again, and send the whole body at once."}

Environment = dict[str, Any]
Application = Callable[[Environment, Any], Iterable[bytes]]


class BodyReads:
    """How many bodies are being read now from each address."""

    def __init__(self) -> None:
        self.reading: Counter[str] = Counter()
        self.changed = threading.Condition()

    def begin(self, address: str) -> bool:
        """Wait for permission to read a body; return whether it was given. If so, call `end` afterwards."""
        with self.changed:
            may_read = self.changed.wait_for(lambda: self.is_room_for(address), PATIENCE_S)
            if may_read:
                self.reading[address] += 1
        return may_read

    def is_room_for(self, address: str) -> bool:
        return self.reading[address] < OF_ONE_ADDRESS and self.reading.total() < OF_ALL

    def end(self, address: str) -> None:
        with self.changed:
            self.reading[address] -= 1
            if not self.reading[address]:
                del self.reading[address]
            # Wake all, since each waiter may be for a different address.
            self.changed.notify_all()


def bounded_body_reads(application: Application) -> Application:
    """Call the application once the whole body has arrived. It refuses a body that is too long unread (BodyLimitMiddleware)."""
    reads = BodyReads()

    def answer(environment: Environment, start_response: Any) -> Iterable[bytes]:
        length = environment.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and 0 < int(length) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            address = of_environment(environment)
            if not reads.begin(address):
                start_response("503 Service Unavailable", [("Content-Type", "application/json"), ("Retry-After", "1")])
                return [json.dumps(BUSY).encode()]
            try:
                environment["wsgi.input"] = BytesIO(environment["wsgi.input"].read(int(length)))
            finally:
                reads.end(address)
        return application(environment, start_response)

    return answer
