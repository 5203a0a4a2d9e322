"""Whose address a request comes from."""

import ipaddress
import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from time import monotonic

import structlog
from django.conf import settings
from django.http import HttpRequest

# What one household or one rented machine gets, so that its addresses count as one.
IPV6_NETWORK_BITS = 64
# Some proxies tell the client's port too, or write an IPv6 address as in a URL, in quotes (RFC 7239, section 6).
WITH_PORT = re.compile(r"(?P<ipv4>[0-9.]+):[0-9]{1,5}|\[(?P<ipv6>[^\]]+)\](:[0-9]{1,5})?")
# Asked by machines beside us, which do not come through a proxy.
PROBES = {"/health/live", "/health/ready", "/metrics"}
LOG_EVERY_S = 60.0
MAX_LOGGED_LENGTH = 200
log = structlog.get_logger()


def client_address(peer: str, forwarded: Sequence[str]) -> str:
    """The client's IP address, or its network when it is an IPv6 one.

    `peer` is the other end of the connection and `forwarded` each X-Forwarded-For header that came. A client that none of our
    proxies names has the address of the proxy, as all others like it: that is logged, since they are throttled together.
    """
    address = counted_as(peer) if not settings.TRUSTED_PROXIES else named_by_proxy(forwarded)
    if address is None and settings.TRUSTED_PROXIES:
        unknown_clients.tell(peer, forwarded)
    return address or counted_as(peer) or peer


def named_by_proxy(forwarded: Sequence[str]) -> str | None:
    """The client as the outermost of our proxies has seen it; None when it does not say, or nothing that can be read.

    Every proxy appends what it sees, so with TRUSTED_PROXIES of ours the client is that many entries before the end. What
    stands before it is what the client says of itself, and is never believed.
    """
    hops = [hop.strip() for header in forwarded for hop in header.split(",")]
    return counted_as(hops[-settings.TRUSTED_PROXIES]) if len(hops) >= settings.TRUSTED_PROXIES else None


# One client sends many requests, and the parser of addresses is thorough.
@lru_cache(maxsize=10_000)
def counted_as(address: str) -> str | None:
    """The address without its port, or the network when it is an IPv6 one; None when it is neither."""
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
    """Logs that there are some, once a minute."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.told_at: float | None = None

    def tell(self, peer: str, forwarded: Sequence[str]) -> None:
        with self.lock:
            now = monotonic()
            if self.told_at is not None and now - self.told_at < LOG_EVERY_S:
                return
            self.told_at = now
        header = ", ".join(forwarded)[-MAX_LOGGED_LENGTH:]
        log.warning("client_address_unknown", proxy=peer, x_forwarded_for=header, trusted_proxies=settings.TRUSTED_PROXIES)


unknown_clients = UnknownClients()


def of_request(request: HttpRequest) -> str:
    """That of a request to the web process."""
    return of_environment(request.META)


def of_environment(environment: dict[str, str]) -> str:
    """That of a request that Django has not seen yet (WSGI, PEP 3333)."""
    peer = environment.get("REMOTE_ADDR", "")
    if environment.get("PATH_INFO") in PROBES and not forwarded_of(environment):
        return counted_as(peer) or peer
    return client_address(peer, forwarded_of(environment))


def is_unknown(request: HttpRequest) -> bool:
    """Whether our proxy does not say whose request it is."""
    is_needed = settings.TRUSTED_PROXIES > 0 and request.path not in PROBES
    return is_needed and named_by_proxy(forwarded_of(request.META)) is None


def forwarded_of(environment: dict[str, str]) -> list[str]:
    forwarded = environment.get("HTTP_X_FORWARDED_FOR")
    return [forwarded] if forwarded else []
