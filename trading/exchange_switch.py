"""Closing and opening the simulated exchange, to try out what the system does in an outage."""

import json
from urllib.request import Request, urlopen

from django.conf import settings

TIMEOUT_S = 2.0


class SwitchError(Exception):
    """The simulated exchange does not answer."""


def switch_exchange(wish: str) -> None:
    """`close` or `open` the exchange. Raises SwitchError."""
    body = json.dumps({wish: True}).encode()
    request = Request(f"{settings.EXCHANGE_URL}/control", body, {"Content-Type": "application/json"})  # noqa: S310 - our own address
    try:
        urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310
    except OSError as error:
        raise SwitchError(str(error)) from error
