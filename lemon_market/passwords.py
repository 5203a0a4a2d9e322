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

# In one process. More who wait would be threads that no order can have.
MAX_WAITING = 2
# Of nice(1): whoever does anything else goes first.
LOW_PRIORITY = 10


class TooManySignIns(Exception):
    """So many passwords are being hashed that another one would keep a thread waiting for long."""


class PasswordHasher(PBKDF2PasswordHasher):
    """Django's, with the same hashes. Raises TooManySignIns."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        return one_at_a_time.run(partial(super().encode, password, salt, iterations))


class OneAtATime:
    """The hashing of one process."""

    def __init__(self) -> None:
        self.places = threading.BoundedSemaphore(1 + MAX_WAITING)
        self.turn = threading.Lock()

    def run(self, work: Callable[[], T]) -> T:
        if not self.places.acquire(blocking=False):
            raise TooManySignIns
        try:
            # A thread of its own, since no ordinary user gets a priority back that he gave up.
            with self.turn, ThreadPoolExecutor(1, initializer=lower_priority) as thread:
                return thread.submit(work).result()
        finally:
            self.places.release()


one_at_a_time = OneAtATime()


def lower_priority() -> None:
    """Of the thread that calls it; only Linux has one for each thread."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(LOW_PRIORITY, os.getpriority(os.PRIO_PROCESS, thread)))


def too_many_sign_ins(request: HttpRequest) -> HttpResponse:
    page = render(request, "lemon_market/busy.html", status=HTTPStatus.SERVICE_UNAVAILABLE)
    page.headers["Retry-After"] = "2"
    return page
