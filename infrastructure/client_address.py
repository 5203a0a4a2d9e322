"""Which client address a request comes from."""

import ipaddress
import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from time import monotonic

import structlog
from django.conf import settings
from django.http import HttpRequest

# One household or one rented machine gets a network of this size, so all of its addresses count as one.
IPV6_NETWORK_BITS = 64
# Some proxies add the client's port, or write an IPv6 address as in a URL, in quotes (RFC 7239, section 6).
WITH_PORT = re.compile(r"(?P<ipv4>[0-9.]+):[0-9]{1,5}|\[(?P<ipv6>[^\]]+)\](:[0-9]{1,5})?")
# Requested by neighbouring machines, which do not come through a proxy.
PROBES = {"/health/live", "/health/ready", "/metrics"}
LOG_EVERY_S = 60.0
MAX_LOGGED_LENGTH = 200
log = structlog.get_logger()


def client_address(peer: str, forwarded: Sequence[str]) -> str:
    """The client's IP address, or its network if it is an IPv6 address.

    `peer` is the other end of the connection and `forwarded` holds each X-Forwarded-For header. When our proxies do not name
    the client, the proxy's own address is used. That is logged, since all such clients are throttled together.
    """
    address = counted_as(peer) if not settings.TRUSTED_PROXIES else named_by_proxy(forwarded)
    if address is None and settings.TRUSTED_PROXIES:
        unknown_clients.tell(peer, forwarded)
    return address or counted_as(peer) or peer


def named_by_proxy(forwarded: Sequence[str]) -> str | None:
    """The client as seen by the outermost of our proxies; None when the proxy names none, or the entry cannot be parsed.

    Every proxy appends the address that it sees, so with TRUSTED_PROXIES of ours the client is that many entries before the
    end. Earlier entries come from the client itself and are never trusted.
    """
    hops = [hop.strip() for header in forwarded for hop in header.split(",")]
    return counted_as(hops[-settings.TRUSTED_PROXIES]) if len(hops) >= settings.TRUSTED_PROXIES else None


# One client sends many requests, and parsing an address is slow.
@lru_cache(maxsize=10_000)
def counted_as(address: str) -> str | None:
    """The address without its port, or the network if it is an IPv6 address; None when it is not an address."""
    if address.startswith('"') and address.endswith('"'):
        address = address[1:-1]
    if found := WITH_PORT.fullmatch(address):
        address = found["ipv4"] or found["ipv6"]
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((int(ip), IPV6_NETWORK_BITS), strict=False).network_address)


class UnknownClients:
    """Logs, at most once a minute, that the addresses of some clients are unknown."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.logged_at: float | None = None

    def tell(self, peer: str, forwarded: Sequence[str]) -> None:
        with self.lock:
            now = monotonic()
            if self.logged_at is not None and now - self.logged_at < LOG_EVERY_S:
                return
            self.logged_at = now
        header = ", ".join(forwarded)[-MAX_LOGGED_LENGTH:]
        log.warning("client_address_unknown", proxy=peer, x_forwarded_for=header, trusted_proxies=settings.TRUSTED_PROXIES)


unknown_clients = UnknownClients()


def of_request(request: HttpRequest) -> str:
    """The client address of a request to the web process."""
    return of_environment(request.META)


def of_environment(environment: dict[str, str]) -> str:
    """The client address of a request that Django has not seen yet (WSGI, PEP 3333)."""
    peer = environment.get("REMOTE_ADDR", "")
    if environment.get("PATH_INFO") in PROBES and not forwarded_of(environment):
        return counted_as(peer) or peer
    return client_address(peer, forwarded_of(environment))


def is_unknown(request: HttpRequest) -> bool:
    """Whether our proxy fails to name the client of the request."""
    is_needed = settings.TRUSTED_PROXIES > 0 and request.path not in PROBES
    return is_needed and named_by_proxy(forwarded_of(request.META)) is None


def forwarded_of(environment: dict[str, str]) -> list[str]:
    forwarded = environment.get("HTTP_X_FORWARDED_FOR")
    return [forwarded] if forwarded else []
