from typing import Any

import knox.auth
from django.conf import settings
from django.contrib.auth.models import User
from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request


class TokenAuthentication(knox.auth.TokenAuthentication):
    """Knox's own breaks on bytes that are no UTF-8 or that PostgreSQL cannot compare with; no token has any of them."""

    def authenticate_credentials(self, token: bytes) -> Any:
        if not token.isalnum():
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)


class TokenScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]
    target_class = "orders.api.authentication.TokenAuthentication"


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
