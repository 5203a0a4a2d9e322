from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from infrastructure.throttling import account_rate, counter


class AccountThrottle(BaseThrottle):
    """429 with Retry-After for an account that asks too often."""

    def __init__(self) -> None:
        self.retry_after_s: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        # The description of the API is for everybody; there only addresses are counted.
        if request.user is not None:
            self.retry_after_s = counter.add(account_rate(), str(request.user.pk))
        return self.retry_after_s is None

    def wait(self) -> float | None:
        return self.retry_after_s
