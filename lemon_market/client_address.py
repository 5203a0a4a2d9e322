"""Whose address a request comes from."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

# What one household or one rented machine gets, so that its addresses count as one.
IPV6_NETWORK_BITS = 64


def client_address(peer: str, forwarded: Sequence[str]) -> str:
    """The client's IP address, or its network when it is an IPv6 one.

    `peer` is the other end of the connection and `forwarded` each X-Forwarded-For header that came. Every proxy appends
    what it sees, so with TRUSTED_PROXIES of ours the client is that many entries before the end; what stands before it is
    what the client says of itself.
    """
    hops = [hop.strip() for header in forwarded for hop in header.split(",")]
    address = peer
    if settings.TRUSTED_PROXIES and len(hops) >= settings.TRUSTED_PROXIES:
        address = hops[-settings.TRUSTED_PROXIES]
    return counted_as(address) or peer


# One client sends many requests, and the parser of addresses is thorough.
@lru_cache(maxsize=10_000)
def counted_as(address: str) -> str | None:
    """The address, or the network when it is an IPv6 one; None when it is neither."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, IPV6_NETWORK_BITS), strict=False).network_address)


def of_request(request: HttpRequest) -> str:
    """That of a request to the web process."""
    return of_environment(request.META)


def of_environment(environment: dict[str, str]) -> str:
    """That of a request that Django has not seen yet (WSGI, PEP 3333)."""
    forwarded = environment.get("HTTP_X_FORWARDED_FOR")
    return client_address(environment.get("REMOTE_ADDR", ""), [forwarded] if forwarded else [])
