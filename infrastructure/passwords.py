"""Hashing passwords one at a time and at low priority, so that those who sign in do not keep orders waiting.

A hash takes a good part of a second of a processor on purpose, and anybody may ask for one.
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

# Of one process: one is hashed, and two wait. More would take threads that no order can have.
MAX_SIGN_INS = 3
# Of nice(1): whoever does anything else goes first.
LOW_PRIORITY = 10
turn = threading.Lock()
sign_ins = threading.BoundedSemaphore(MAX_SIGN_INS)


class PasswordHasher(PBKDF2PasswordHasher):
    """Django's, with the same hashes."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        return at_low_priority(partial(super().encode, password, salt, iterations))


def at_low_priority(work: Callable[[], T]) -> T:
    # A thread of its own, since no ordinary user gets a priority back that he gave up.
    with turn, ThreadPoolExecutor(1, initializer=lower_priority) as thread:
        return thread.submit(work).result()


def lower_priority() -> None:
    """Of the thread that calls it; only Linux has one for each thread."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(LOW_PRIORITY, os.getpriority(os.PRIO_PROCESS, thread)))


def too_many_sign_ins(request: HttpRequest) -> HttpResponse:
    page = render(request, "lemon_market/busy.html", status=HTTPStatus.SERVICE_UNAVAILABLE)
    page.headers["Retry-After"] = "2"
    return page
