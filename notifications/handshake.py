"""Reads a client's handshake: its credentials, its address, and the event after which to resume."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.http import parse_cookie
from django.http.request import split_domain_port, validate_host

from infrastructure.client_address import client_address
from notifications.closings import ORIGIN_FORBIDDEN, ConnectionRefused, bad_query, wrong_credentials

# The longest event id that the database stores.
MAX_EVENT_ID_LENGTH = 128
TOKEN_SUBPROTOCOL = "token"  # noqa: S105 - a name, not a secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials as presented, not yet checked. At most one is set; without either it is the anonymous account."""

    token: str | None = field(default=None, repr=False)
    session_key: str | None = field(default=None, repr=False)


def read_address(scope: dict[str, Any]) -> str:
    """The client's address, as seen by our own proxies if there are any."""
    peer = scope["client"][0] if scope.get("client") else ""
    return client_address(peer, _headers(scope, b"x-forwarded-for"))


def answered_subprotocol(scope: dict[str, Any]) -> str | None:
    """The subprotocol to answer: a browser drops the connection unless one of those that its page offers is chosen."""
    return TOKEN_SUBPROTOCOL if TOKEN_SUBPROTOCOL in scope["subprotocols"] else None


def check_origin(scope: dict[str, Any]) -> None:
    """Raises ConnectionRefused for pages of other sites, which would use their visitor's session (RFC 6455, section 10.2).

    Programs other than browsers send no origin.
    """
    for origin in _headers(scope, b"origin"):
        try:
            domain, _port = split_domain_port(urlsplit(origin).netloc)
        except ValueError:
            domain = ""
        if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
            raise ConnectionRefused(ORIGIN_FORBIDDEN)


def read_after(scope: dict[str, Any]) -> str | None:
    """The event id in the query, if there is one. Raises ConnectionRefused."""
    if not scope["query_string"]:
        return None
    try:
        query = parse_qsl(
            scope["query_string"].decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=10, errors="strict"
        )
    except ValueError:
        raise ConnectionRefused(bad_query("The query cannot be read: write ?after=<event_id>.")) from None
    for name, _value in query:
        if name.lower() in {"token", "access_token", "authorization"}:
            # Queries end up in the logs of servers and proxies.
            raise ConnectionRefused(bad_query("A token in the address is not safe: send it in the Authorization header."))
    if [name for name, _value in query] != ["after"]:
        raise ConnectionRefused(bad_query("The query may only be ?after=<event_id>."))
    event_id: str = query[0][1]
    if not 0 < len(event_id) <= MAX_EVENT_ID_LENGTH or "\0" in event_id:
        raise ConnectionRefused(bad_query("after is not an event id."))
    return event_id


def read_credentials(scope: dict[str, Any]) -> Credentials:
    """The token in the header, or else in the subprotocols, or else the session. Raises ConnectionRefused."""
    if headers := _headers(scope, b"authorization"):
        return Credentials(token=_token_of(headers))
    if offered := scope["subprotocols"]:
        if len(offered) != 2 or offered[0] != TOKEN_SUBPROTOCOL:
            raise ConnectionRefused(wrong_credentials('To send a token, the subprotocols must be ["token", "<token>"].'))
        return Credentials(token=offered[1])
    cookies = parse_cookie("; ".join(_headers(scope, b"cookie")))
    return Credentials(session_key=cookies.get(settings.SESSION_COOKIE_NAME))


def _token_of(headers: list[str]) -> str:
    words = headers[0].split()
    if len(headers) != 1 or len(words) != 2 or words[0].lower() != "token":
        raise ConnectionRefused(wrong_credentials("The header must have the form Authorization: Token <token>."))
    return words[1]


def _headers(scope: dict[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
