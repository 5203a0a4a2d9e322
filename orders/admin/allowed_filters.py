"""Restricts what the address of a back-office list may filter by.

Django accepts any look-up of any column there. Some make no sense, and some would keep the database busy until its timeout,
such as a regular expression over all orders.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

# Whether a value is allowed for a filter's parameter.
Check = Callable[[str], object]
YES_OR_NO: Check = re.compile("[01]|True|False").fullmatch
ROW_NUMBER: Check = re.compile("[1-9][0-9]{0,8}").fullmatch
# A date or a time of day; the filter ignores what is neither.
MOMENT: Check = re.compile("[0-9:. -]{0,30}").fullmatch


def one_of(values: Collection[str]) -> Check:
    return frozenset(values).__contains__


class KnownLookups:
    """A list accepts the parameters in `lookups`, which its own filters and links use; with any other it is shown unfiltered."""

    lookups: Mapping[str, Check] = {}

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Raises IncorrectLookupParameters, for which Django shows the unfiltered list with a note."""
        if lookup not in self.lookups or not self.lookups[lookup](value):
            raise IncorrectLookupParameters(f"{lookup} cannot be {value!r} here")
        return True

    def response_action(self, request: HttpRequest, queryset: QuerySet, *args: Any, **options: Any) -> HttpResponse | None:
        for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.opts.pk.clean(chosen, None)  # type: ignore[attr-defined]
            except ValidationError:
                # None of our forms sends it.
                raise SuspiciousOperation(f"{chosen!r} is not a row of this list") from None
        answer: HttpResponse | None = super().response_action(request, queryset, *args, **options)  # type: ignore[misc]
        return answer

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, term: str) -> tuple[QuerySet, bool]:
        # PostgreSQL text cannot contain this character.
        found: tuple[QuerySet, bool] = super().get_search_results(request, queryset, term.replace("\0", ""))  # type: ignore[misc]
        return found
