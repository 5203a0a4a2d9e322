"""What a list of the back office may be asked for in its address.

Django takes any look-up of any column there. Some are no sense, and some would keep the database busy for as long as it lets
them, such as a regular expression over all orders.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

# What the parameter of a filter may be.
Check = Callable[[str], object]
YES_OR_NO: Check = re.compile("[01]|True|False").fullmatch
ROW_NUMBER: Check = re.compile("[1-9][0-9]{0,8}").fullmatch
# A day, or a time of it; what is none is ignored.
MOMENT: Check = re.compile("[0-9:. -]{0,30}").fullmatch


def one_of(values: Collection[str]) -> Check:
    return frozenset(values).__contains__


class KnownLookups:
    """A list takes the parameters in `lookups`, those of its own filters and links, and is shown unfiltered for any other."""

    lookups: Mapping[str, Check] = {}

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Raises IncorrectLookupParameters, which Django answers with the list and a word about it."""
        if lookup not in self.lookups or not self.lookups[lookup](value):
            raise IncorrectLookupParameters(f"{lookup} is not {value!r} here")
        return True

    def response_action(self, request: HttpRequest, queryset: QuerySet, *args: Any, **options: Any) -> HttpResponse | None:
        for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.opts.pk.clean(chosen, None)  # type: ignore[attr-defined]
            except ValidationError:
                # No form of ours sends it.
                raise SuspiciousOperation(f"{chosen!r} is no row of this list") from None
        answer: HttpResponse | None = super().response_action(request, queryset, *args, **options)  # type: ignore[misc]
        return answer

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, term: str) -> tuple[QuerySet, bool]:
        # PostgreSQL has no text with such a character in it.
        found: tuple[QuerySet, bool] = super().get_search_results(request, queryset, term.replace("\0", ""))  # type: ignore[misc]
        return found
