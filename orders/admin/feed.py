"""The exchange's feed: how far it has been followed, whether it is connected, and reports that could not be applied."""

from django.contrib import admin

from orders.admin.allowed_filters import YES_OR_NO
from orders.admin.read_only import ReadOnlyAdmin


class DeadLetterAdmin(ReadOnlyAdmin):
    """Reports of the exchange that could not be applied; `manage.py replay_reports` tries them again."""

    list_display = ["received_at", "reason", "order", "session_id", "sequence", "applied_at"]
    list_select_related = ["order"]
    list_filter = [("applied_at", admin.EmptyFieldListFilter)]
    lookups = {"applied_at__isempty": YES_OR_NO}


class FeedPositionAdmin(ReadOnlyAdmin):
    list_display = ["feed", "session_id", "sequence", "updated_at"]


class FeedConnectionAdmin(ReadOnlyAdmin):
    list_display = ["feed", "is_connected", "since", "problem", "silent_since", "said_at"]
