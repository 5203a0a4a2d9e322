"""Every address that the web process answers, collected from Django's own table of them."""

from collections.abc import Iterable, Iterator

from django.urls import URLPattern, URLResolver, get_resolver


def addresses() -> list[str]:
    """As they are written in the url tables, `/orders/<uuid:pk>`, in a fixed order."""
    return sorted(_walk(get_resolver().url_patterns, ""))


def _walk(entries: Iterable[URLPattern | URLResolver], before: str) -> Iterator[str]:
    for entry in entries:
        text = before + str(entry.pattern).removeprefix("^")
        if isinstance(entry, URLResolver):
            yield from _walk(entry.url_patterns, text)
        else:
            yield "/" + text
