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


# By a token's digest: when it was read (monotonic seconds), and the token with its user. One cache per process; read-only.
token_cache: dict[str, tuple[float, AuthToken]] = {}
# When there are more, the cache is emptied and tokens are read again.
MAX_CACHED_TOKENS = 10_000


class TokenAuthentication(knox.auth.TokenAuthentication):
    """Knox's tokens, each found by its digest in one statement, and cached for TOKEN_CACHE_TTL seconds.

    Knox itself loads all tokens of the user at each request, to delete those that have expired. Here only the
    presented token is read.
    """

    def authenticate(self, request: Request) -> Any:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme == "Token" and token.isalnum():
            return self.authenticate_credentials(token.encode())
        # Anything unusual is left to knox, for which REST framework rewrites the names of all headers.
        return super().authenticate(request)

    def authenticate_credentials(self, token: bytes) -> Any:
        # Tokens are alphanumeric; other characters might be invalid UTF-8, or text that PostgreSQL cannot compare.
        presented = token_with_user(hash_token(token.decode())) if token.isalnum() else None
        if presented is None or (presented.expiry is not None and presented.expiry <= timezone.now()):
            raise AuthenticationFailed("Invalid token.")
        return self.validate_user(presented)


def token_with_user(digest: str) -> AuthToken | None:
    """The token with its user. Reading both through Django's ORM takes five times as long."""
    now_s = monotonic()
    read_at_s, known = token_cache.get(digest, (0.0, None))
    if known is not None and now_s - read_at_s < settings.TOKEN_CACHE_TTL:
        return known
    rows = run_prepared(TOKEN_WITH_USER, [digest])
    if not rows:
        # Wrong tokens are not cached: anyone could fill the cache with them.
        token_cache.pop(digest, None)
        return None
    [row] = rows
    token = AuthToken.from_db(None, TOKEN_FIELDS, row[: len(TOKEN_FIELDS)])
    token.user = User.from_db(None, USER_FIELDS, row[len(TOKEN_FIELDS) :])
    if len(token_cache) >= MAX_CACHED_TOKENS:
        token_cache.clear()
    token_cache[digest] = (now_s, token)
    return token


class TokenScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]
    target_class = "orders.api.authentication.TokenAuthentication"


class SessionAuthentication(rest_framework.authentication.SessionAuthentication):
    """Lets a page's scripts use the session of the person who signed in on the page.

    No middleware reads sessions for the API, so a request with a token or without a cookie pays nothing for them.
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
    """The account named by ANONYMOUS_ACCOUNT, as which requests without credentials act; None unless it is set."""
    if not settings.ANONYMOUS_ACCOUNT:
        return None
    return User.objects.filter(username=settings.ANONYMOUS_ACCOUNT, is_active=True).first()


class AnonymousAccountAuthentication(BaseAuthentication):
    """Lets requests without credentials act as the anonymous account, if there is one.

    Wrong credentials never get here: the authenticators before this one refuse them.
    """

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        # The web server empties a header that is not ASCII. Such credentials are wrong, and must not count as missing.
        if "HTTP_AUTHORIZATION" in request.META:
            return None
        account = anonymous_account()
        return None if account is None else (account, None)
