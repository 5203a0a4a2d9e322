"""Clients that place orders, and cancel some, for as long as the trial lasts."""

import json
import random
import threading
import urllib.error
import urllib.request
from contextlib import suppress

from testsupport.system import INSTRUMENTS, WATCHED, System

# The account of each client: while one account is halted, the other trades.
ACCOUNTS = (WATCHED, WATCHED, "another")
PAUSE_S = 0.05
CANCELED = 0.1
PATIENCE_S = 10.0


class Client(threading.Thread):
    """Sends one order after another, each until it is answered; `answered` has the ids of those that were."""

    def __init__(self, system: System, name: str, token: str, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.url = f"http://127.0.0.1:{system.installation.port}/orders"
        self.headers = {"Content-Type": "application/json", "Authorization": f"Token {token}"}
        self.chance = random.Random(seed)  # noqa: S311 - a run must be repeatable
        self.stopping = threading.Event()
        self.answered: list[str] = []

    def run(self) -> None:
        number = 0
        while not self.stopping.wait(PAUSE_S):
            number += 1
            client_order_id, instrument = f"{self.name}-{number}", self.chance.choice(INSTRUMENTS)
            while not (answer := self.try_to_place(client_order_id, instrument)) and not self.stopping.wait(0.2):
                pass
            order_id = answer and answer.get("id")
            if order_id is not None and self.chance.random() < CANCELED:
                self.call(f"{self.url}/{order_id}/cancel", {})

    def try_to_place(self, client_order_id: str, instrument: str) -> dict[str, object] | None:
        """Post an order; return the response's body if it is accepted, else None. A repeat with the same id is harmless."""
        body = {"type": "market", "side": "buy", "quantity": 10, "client_order_id": client_order_id, "instrument": instrument}
        answer = self.call(self.url, body)
        if answer is None:
            return None
        status, document = answer
        if status == 422 and document.get("code") == "trading_halted":
            return None
        assert status in (200, 202), f"{client_order_id}: {status}"
        self.answered.append(client_order_id)
        return document

    def call(self, url: str, body: dict[str, object]) -> tuple[int, dict[str, object]] | None:
        """Status and body of the response; None when there was none, or it proves nothing."""
        request = urllib.request.Request(url, json.dumps(body).encode(), self.headers)  # noqa: S310 - http it is
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - http it is
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return None if error.code >= 500 else read_refusal(error)
        except (OSError, ValueError):
            return None


def read_refusal(error: urllib.error.HTTPError) -> tuple[int, dict[str, object]] | None:
    with error, suppress(OSError, ValueError):
        return error.code, json.load(error)
    return None
