"""How many requests an account or an address may send, counted across all processes.

A process counts in memory, and adds its count to the table RequestCount once that reaches a hundredth of the limit (the
flush threshold): one statement per flush, and none in between. The same statement returns what all processes have counted.
So each further process can let through at most one threshold's worth of requests beyond the limit; for limits below 200 that
is nothing, since every request is flushed. While the database is unavailable, a process goes by its own count.

Counts start afresh with each window, so a client that sends around the end of a window can get twice the limit within the
length of one window.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from time import time
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render

from infrastructure import client_address
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from infrastructure.models import UNKNOWN_CLIENTS, RequestCount
from infrastructure.passwords import sign_ins, too_many_sign_ins

log = structlog.get_logger()

FLUSHES_PER_WINDOW = 100
# Clients counted in one process. More at once are an attack, and starting afresh is better than growing.
MAX_CLIENTS = 20_000
MAX_USERNAME_LENGTH = 255
# Forms that take a password; the right one redirects to another page.
LOGIN_PATHS = {"/login", "/admin/login/", "/admin/password_change/"}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` requests in `window_s` seconds; 0 means no limit."""

    name: str
    limit: int
    window_s: int

    @property
    def flush_threshold(self) -> int:
        return max(1, self.limit // FLUSHES_PER_WINDOW)


def account_rate() -> Rate:
    return Rate("account", settings.ACCOUNT_REQUESTS_PER_SECOND * 10, 10)


def address_rate() -> Rate:
    return Rate("address", settings.ADDRESS_REQUESTS_PER_SECOND * 10, 10)


def failure_rate() -> Rate:
    """The rate of wrong credentials from one address, tokens and passwords alike."""
    return Rate("failure", settings.FAILED_LOGINS_PER_MINUTE, 60)


def unknown_rate() -> Rate:
    """The rate of requests whose client our proxy does not name: one in ten minutes is recorded, for doctor to find."""
    return Rate(UNKNOWN_CLIENTS, 1, 600)


@dataclass(slots=True)
class Count:
    """`shared` is already in the table that all processes share, `pending` not yet."""

    ends_at: int
    shared: int = 0
    pending: int = 0


class Counter:
    """The counts of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: dict[tuple[str, str], Count] = {}

    def add(self, rate: Rate, who: str) -> float | None:
        """Count one request of `who`; returns None, or the seconds until the next one is allowed."""
        if not rate.limit:
            return None
        now = time()
        with self.lock:
            count = self.current(rate, who, now)
            if count.shared + count.pending >= rate.limit:
                return count.ends_at - now
            count.pending += 1
            if count.pending < rate.flush_threshold:
                return None
            flushed, count.pending = count.pending, 0
            count.shared += flushed
        try:
            shared = RequestCount.add(rate.name, who, count.ends_at, flushed)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", doing="count requests", error=one_line(error))
            return None
        with self.lock:
            count.shared = max(count.shared, shared)
        return count.ends_at - now if shared > rate.limit else None

    def take_back(self, rate: Rate, who: str) -> None:
        """Undo what `add` counted for `who` a moment ago."""
        if not rate.limit:
            return
        with self.lock:
            count = self.current(rate, who, time())
            if count.pending:
                count.pending -= 1
                return
            if not count.shared:
                # It was counted in the previous window.
                return
            count.shared -= 1
        try:
            RequestCount.add(rate.name, who, count.ends_at, -1)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", doing="count requests", error=one_line(error))

    def current(self, rate: Rate, who: str, now: float) -> Count:
        ends_at = (int(now) // rate.window_s + 1) * rate.window_s
        key = rate.name, who
        count = self.counts.get(key)
        if count is None or count.ends_at < ends_at:
            if len(self.counts) >= MAX_CLIENTS:
                self.counts = {}
            count = self.counts[key] = Count(ends_at)
        return count


counter = Counter()


class AddressThrottleMiddleware:
    """Stops an address that sends too many requests, and sooner one that guesses tokens or passwords."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        address = client_address.of_request(request)
        if client_address.is_unknown(request):
            counter.add(unknown_rate(), address)
        wait_s = counter.add(address_rate(), address)
        if wait_s is not None:
            return too_many_requests(wait_s)
        if request.method == "POST" and request.path in LOGIN_PATHS:
            return self.sign_in(request, address)
        response = self.get_response(request)
        # A valid token keeps working whatever others behind the same address try.
        if response.status_code == HTTPStatus.UNAUTHORIZED and "HTTP_AUTHORIZATION" in request.META:
            wait_s = counter.add(failure_rate(), address)
            return response if wait_s is None else too_many_requests(wait_s)
        return response

    def sign_in(self, request: HttpRequest, address: str) -> HttpResponseBase:
        if not sign_ins.acquire(blocking=False):
            return too_many_sign_ins(request)
        try:
            return self.try_password(request, address)
        finally:
            sign_ins.release()

    def try_password(self, request: HttpRequest, address: str) -> HttpResponseBase:
        """Count a failure before the password is hashed: otherwise many attempts at once would all be let in."""
        wait_s = counter.add(failure_rate(), address)
        if wait_s is not None:
            return locked_page(request, wait_s)
        response = self.get_response(request)
        # A successful login redirects to a page; a failed one shows the form again.
        if response.status_code in {HTTPStatus.FOUND, HTTPStatus.SERVICE_UNAVAILABLE}:
            counter.take_back(failure_rate(), address)
        return response


def counted_username(request: HttpRequest, credentials: Mapping[str, Any] | None) -> str | None:
    """For django-axes: the username, cut to what its table can hold. No real username is that long."""
    name = (credentials or request.POST).get("username")
    return None if name is None else name[:MAX_USERNAME_LENGTH]


def too_many_requests(wait_s: float, whose: str = "from this address") -> HttpResponse:
    seconds = ceil(wait_s)
    detail = f"Too many requests {whose}. Try again in {seconds} s."
    return JsonResponse({"detail": detail}, status=429, headers={"Retry-After": str(seconds)})


def locked_out(request: HttpRequest, _response: Any, _credentials: Any) -> HttpResponse:
    """For django-axes: the account is locked for this address."""
    return locked_page(request, settings.AXES_COOLOFF_TIME.total_seconds())


def locked_page(request: HttpRequest, wait_s: float) -> HttpResponse:
    page = render(request, "lemon_market/locked_out.html", {"minutes": ceil(wait_s / 60)}, status=429)
    page.headers["Retry-After"] = str(ceil(wait_s))
    return page
