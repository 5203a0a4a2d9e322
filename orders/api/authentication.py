from time import monotonic
from typing import Any

import drf_spectacular.authentication
import knox.auth
import rest_framework.authentication
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone
from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from infrastructure.database.base import run_prepared
from infrastructure.sessions import SessionStore

TOKEN_FIELDS = [field.attname for field in AuthToken._meta.concrete_fields]  # noqa: SLF001 - Django's name for a public thing
USER_FIELDS = [field.attname for field in User._meta.concrete_fields]  # noqa: SLF001
TOKEN_WITH_USER = f"""
SELECT {", ".join([f"token.{name}" for name in TOKEN_FIELDS] + [f"account.{name}" for name in USER_FIELDS])}
FROM knox_authtoken AS token JOIN auth_user AS account ON account.id = token.user_id
WHERE token.digest = %s"""  # noqa: S608 - only column names


# Tokens with their users by the tokens' digests, and when they were read. Those of one process; nobody may change them.
remembered: dict[str, tuple[float, AuthToken]] = {}
# More tokens within a second are read again, rather than kept.
MAX_CACHED_TOKENS = 10_000


class TokenAuthentication(knox.auth.TokenAuthentication):
    """Knox's tokens, each found by its digest in one statement, and remembered for TOKEN_CACHE_TTL seconds.

    Knox itself loads all tokens of the user at each request, to delete those that have expired. Here only the one that
    is shown is looked at.
    """

    def authenticate(self, request: Request) -> Any:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme == "Token" and token.isalnum():
            return self.authenticate_credentials(token.encode())
        # Anything unusual goes by knox's rules, for which REST framework rewrites the names of all headers.
        return super().authenticate(request)

    def authenticate_credentials(self, token: bytes) -> Any:
        # Neither UTF-8 nor what PostgreSQL can compare with is certain of other characters, and no token has any.
        shown = token_with_user(hash_token(token.decode())) if token.isalnum() else None
        if shown is None or (shown.expiry is not None and shown.expiry <= timezone.now()):
            raise AuthenticationFailed("Invalid token.")
        return self.validate_user(shown)


def token_with_user(digest: str) -> AuthToken | None:
    """Django's own way to the same two objects takes five times as long."""
    now_s = monotonic()
    read_at_s, known = remembered.get(digest, (0.0, None))
    if known is not None and now_s - read_at_s < settings.TOKEN_CACHE_TTL:
        return known
    rows = run_prepared(TOKEN_WITH_USER, [digest])
    if not rows:
        # Wrong ones are not kept: anybody could have us keep as many as they like.
        remembered.pop(digest, None)
        return None
    [row] = rows
    token = AuthToken.from_db(None, TOKEN_FIELDS, row[: len(TOKEN_FIELDS)])
    token.user = User.from_db(None, USER_FIELDS, row[len(TOKEN_FIELDS) :])
    if len(remembered) >= MAX_CACHED_TOKENS:
        remembered.clear()
    remembered[digest] = (now_s, token)
    return token


class TokenScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]
    target_class = "orders.api.authentication.TokenAuthentication"


class SessionAuthentication(rest_framework.authentication.SessionAuthentication):
    """The session of a person who signed in on a page, for the scripts of that page.

    No middleware reads a session for the API, so a request with a token or without a cookie pays nothing for sessions.
    """

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        session_key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        user = None if session_key is None else user_of_session(session_key)
        if user is None:
            return None
        self.enforce_csrf(request)
        return user, None


def user_of_session(session_key: str) -> User | None:
    """The active user who signed in with this session; None when it has ended."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = get_user(request)
    return user if isinstance(user, User) else None


class SessionScheme(drf_spectacular.authentication.SessionScheme):  # type: ignore[no-untyped-call]
    target_class = "orders.api.authentication.SessionAuthentication"


def anonymous_account() -> User | None:
    """The account named by ANONYMOUS_ACCOUNT, which requests without credentials act as; none unless it is set."""
    if not settings.ANONYMOUS_ACCOUNT:
        return None
    return User.objects.filter(username=settings.ANONYMOUS_ACCOUNT, is_active=True).first()


class AnonymousAccountAuthentication(BaseAuthentication):
    """Lets requests without credentials act as the anonymous account, if there is one.

    Wrong credentials never get here: the authenticators before this one refuse them.
    """

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        # The web server empties a header that is not ASCII, and even such credentials are not to be ignored.
        if "HTTP_AUTHORIZATION" in request.META:
            return None
        account = anonymous_account()
        return None if account is None else (account, None)
