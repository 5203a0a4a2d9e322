"""Hashes passwords one at a time and at low priority, so that logins do not delay orders.

A hash takes a good part of a second of processor time on purpose, and anybody can request one.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

T = TypeVar("T")

# Per process: one password is hashed while two wait. More would take threads away from orders.
MAX_SIGN_INS = 3
# As for nice(1): all other work goes first.
LOW_PRIORITY = 10
hashing = threading.Lock()
sign_ins = threading.BoundedSemaphore(MAX_SIGN_INS)


class PasswordHasher(PBKDF2PasswordHasher):
    """Django's hasher, at low priority; the hashes are the same."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        return at_low_priority(partial(super().encode, password, salt, iterations))


def at_low_priority(work: Callable[[], T]) -> T:
    # In a separate thread, since an ordinary user cannot raise a priority again.
    with hashing, ThreadPoolExecutor(1, initializer=lower_priority) as thread:
        return thread.submit(work).result()


def lower_priority() -> None:
    """Lower the calling thread's priority; only Linux has one per thread."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(LOW_PRIORITY, os.getpriority(os.PRIO_PROCESS, thread)))


def too_many_sign_ins(request: HttpRequest) -> HttpResponse:
    page = render(request, "lemon_market/busy.html", status=HTTPStatus.SERVICE_UNAVAILABLE)
    page.headers["Retry-After"] = "2"
    return page
