"""The TCP addresses that `manage.py up` is about to listen on."""

import ipaddress
import socket
from contextlib import ExitStack

from django.conf import settings


class AddressError(Exception):
    """An address cannot be used; the message is one line that names the setting."""


def check() -> None:
    """Raise AddressError unless every port can be listened on, and nobody but this machine can reach a trial installation."""
    try:
        family, _, _, _, (host, *_) = socket.getaddrinfo(settings.HOST, None, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise AddressError(f"HOST {settings.HOST} cannot be used: {error.strerror}") from error
    for name in ("DEBUG", "ANONYMOUS_ACCOUNT"):
        if getattr(settings, name) and not ipaddress.ip_address(host).is_loopback:
            raise AddressError(f"HOST {settings.HOST} can be reached from other machines: unset {name} or use HOST=127.0.0.1")
    with ExitStack() as stack:
        for name, port in _ports().items():
            probe = stack.enter_context(socket.socket(family))
            # What closed connections leave behind for a minute does not make a port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen()
            except (OSError, OverflowError) as error:
                reason = error.strerror if isinstance(error, OSError) else "there is no such port"
                raise AddressError(f"{name} {port} cannot be used: {reason}") from error


def url(port: int) -> str:
    """How a person reaches it, `http://127.0.0.1:8000`."""
    return f"http://[{settings.HOST}]:{port}" if ":" in settings.HOST else f"http://{settings.HOST}:{port}"


def _ports() -> dict[str, int]:
    ports = {"WEB_PORT": settings.WEB_PORT}
    if settings.EXCHANGE_IS_SIMULATED:
        ports["EXCHANGE_PORT"] = settings.EXCHANGE_PORT
    return ports
