"""Accounts, roles and tokens: pages for administrators."""

from typing import Any

from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from orders.admin.allowed_filters import ROW_NUMBER, YES_OR_NO, KnownLookups


class AccountAdmin(KnownLookups, UserAdmin, ModelAdmin):
    """Accounts that may sign in. Only a superuser can create superusers or change their accounts."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    lookups = {
        **{f"{name}__exact": YES_OR_NO for name in ("is_staff", "is_superuser", "is_active")},
        "groups__id__exact": ROW_NUMBER,
        "groups__isnull": YES_OR_NO,
    }
    list_display = ["username", "is_active", "is_staff", "is_superuser", "last_login"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        accounts = super().get_queryset(request)
        return accounts if is_superuser(request) else accounts.filter(is_superuser=False)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Never: deleting an account would delete the record of what it did in the back office. Deactivate it instead."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if is_superuser(request) else [*fields, "is_superuser"]


class RoleAdmin(KnownLookups, GroupAdmin, ModelAdmin):
    pass


class TokenAdmin(KnownLookups, ModelAdmin):
    """The tokens of API clients: listed and revoked here, created by `manage.py create_token`, which shows each only once."""

    list_display = ["token_key", "user", "created", "expiry"]
    list_select_related = ["user"]
    fields = ["token_key", "user", "created", "expiry"]
    search_fields = ["user__username"]

    def get_queryset(self, request: HttpRequest) -> Any:
        tokens = super().get_queryset(request)
        return tokens if is_superuser(request) else tokens.filter(user__is_superuser=False)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def is_superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))
