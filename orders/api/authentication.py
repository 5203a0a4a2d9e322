from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request


class AnonymousAccountAuthentication(BaseAuthentication):
    """Lets requests without credentials act as the account named by ANONYMOUS_ACCOUNT; off unless it is set.

    Wrong credentials never get here: the authenticators before this one refuse them.
    """

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, None] | None:
        if not settings.ANONYMOUS_ACCOUNT or request.META.get("HTTP_AUTHORIZATION"):
            return None
        account = get_user_model().objects.filter(username=settings.ANONYMOUS_ACCOUNT, is_active=True).first()
        return None if account is None else (account, None)
