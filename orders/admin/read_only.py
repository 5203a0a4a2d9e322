"""The base of pages for rows that only the system writes: they cannot be edited, and are never all counted."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin

from orders.admin.allowed_filters import KnownLookups
from orders.capped_count import MAX_COUNTED, capped_count


class BoundedPaginator(Paginator):
    """Counts to `MAX_COUNTED` and no further; a filter finds older rows."""

    template_name = "admin/orders/pagination.html"

    @cached_property
    def counted(self) -> int:
        return capped_count(self.object_list).value  # type: ignore[arg-type]

    @property
    def has_more(self) -> bool:
        return self.counted > MAX_COUNTED

    @cached_property
    def count(self) -> int:
        return min(self.counted, MAX_COUNTED)


class UncountedChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # If the counts differed, the theme would offer to show all rows of the table, which are not counted.
        self.full_result_count = self.result_count


class ReadOnlyAdmin(KnownLookups, ModelAdmin):
    """A page of rows that cannot be edited, added or deleted with any permission."""

    paginator = BoundedPaginator
    show_full_result_count = False
    # Counts next to the filters would read the whole table.
    show_facets = admin.ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return UncountedChangeList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
