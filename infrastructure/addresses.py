"""The TCP addresses that `manage.py up` is about to listen on."""

import ipaddress
import socket
from contextlib import ExitStack

from django.conf import settings


class AddressError(Exception):
    """An address cannot be used; the message is one line that names the setting."""


def check() -> None:
    """Raise AddressError unless every port is free, and a trial installation can be reached from this machine only."""
    host = numeric_host()
    check_exposure(host)
    wanted = [("WEB_PORT", host, settings.WEB_PORT), ("NOTIFICATIONS_PORT", host, settings.NOTIFICATIONS_PORT)]
    if settings.EXCHANGE_IS_SIMULATED:
        wanted.append(("EXCHANGE_PORT", "127.0.0.1", settings.EXCHANGE_PORT))
    if settings.EMBEDDED_KAFKA:
        wanted.append(("KAFKA_PORT", "127.0.0.1", settings.KAFKA_PORT))
    # Hold each until the last is checked, so that two settings with the same port are noticed.
    with ExitStack() as held:
        for name, address, port in wanted:
            held.enter_context(listener(name, address, port))


def check_exposure(host: str) -> None:
    """Raise AddressError when other machines could reach a trial installation at the IP address `host`."""
    for name in ("DEBUG", "ANONYMOUS_ACCOUNT"):
        if getattr(settings, name) and not ipaddress.ip_address(host).is_loopback:
            raise AddressError(f"HOST {settings.HOST} can be reached from other machines: unset {name} or use HOST=127.0.0.1")


def listener(name: str, address: str, port: int) -> socket.socket:
    """Return a socket listening on the port. Raises AddressError, which names the setting `name`."""
    try:
        return _listener(address, port)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the highest port is 65535"
        raise AddressError(f"{name} {port} cannot be used on {address}: {reason}") from error


def numeric_host() -> str:
    """HOST as an IP address, which servers need to listen on. Raises AddressError."""
    try:
        return str(socket.getaddrinfo(settings.HOST, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise AddressError(f"HOST {settings.HOST} cannot be used: {error.strerror}") from error


def url(port: int) -> str:
    """The URL for a browser, such as `http://127.0.0.1:8000`."""
    return f"http://[{settings.HOST}]:{port}" if ":" in settings.HOST else f"http://{settings.HOST}:{port}"


def _listener(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        # A port is free even while closed connections linger on it for a minute (TIME_WAIT).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener
