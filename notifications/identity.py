"""Who a client is, and what it may see."""

from dataclasses import dataclass
from typing import cast

import orjson
from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.exceptions import AuthenticationFailed

from infrastructure.throttling import counter, failure_rate
from notifications.closings import TOO_MANY_FAILURES, ConnectionRefused, wrong_credentials
from notifications.handshake import Credentials
from orders.api.authentication import TokenAuthentication, anonymous_account, user_of_session


@dataclass(frozen=True, slots=True)
class Identity:
    """An account, and whether it sees the events of all accounts."""

    account_id: int
    account: str
    sees_all: bool

    @property
    def account_seen(self) -> int | None:
        """The account whose events the client sees; None for all accounts."""
        return None if self.sees_all else self.account_id

    def hello(self, after: str) -> str:
        """The first message. Its `after` is for reconnecting if the connection ends before the first event."""
        hello = {
            "type": "hello",
            "account": self.account,
            "sees_all": self.sees_all,
            "after": after,
            "heartbeat_s": settings.NOTIFICATIONS_HEARTBEAT,
        }
        return orjson.dumps(hello).decode()


def identify(credentials: Credentials) -> Identity:
    """Check the credentials against the database, as the API does. Raises ConnectionRefused, and Django's database errors."""
    if credentials.token is not None:
        user = _user_of_token(credentials.token)
    elif credentials.session_key is not None:
        user = _user_of_session(credentials.session_key)
    else:
        user = _anonymous_user()
    sees_all = user.is_superuser or (user.is_staff and user.has_perm("orders.view_order"))
    return Identity(user.pk, user.get_username(), sees_all)


def identify_newcomer(credentials: Credentials, address: str) -> Identity:
    """As `identify`, for a new connection: limits failures per address, here and at the API together.

    Valid credentials are always accepted, even if others fail from the same address. Raises ConnectionRefused.
    """
    try:
        return identify(credentials)
    except ConnectionRefused:
        if counter.add(failure_rate(), address) is not None:
            raise ConnectionRefused(TOO_MANY_FAILURES) from None
        raise


def _user_of_token(token: str) -> User:
    try:
        user, _token = TokenAuthentication().authenticate_credentials(token.encode())
    except AuthenticationFailed:
        raise ConnectionRefused(wrong_credentials("The token is invalid, expired or revoked.")) from None
    return cast("User", user)


def _user_of_session(session_key: str) -> User:
    user = user_of_session(session_key)
    if user is None:
        # It must not count as the anonymous account either, since its user believes to be signed in.
        raise ConnectionRefused(wrong_credentials("The session has ended: log in again."))
    return user


def _anonymous_user() -> User:
    user = anonymous_account()
    if user is None:
        raise ConnectionRefused(wrong_credentials("Credentials are missing: send the header Authorization: Token <token>."))
    return user
