from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from infrastructure.throttling import account_rate, counter


class AccountThrottle(BaseThrottle):
    """Answers 429 with Retry-After to an account that sends too many requests."""

    def __init__(self) -> None:
        self.retry_after_s: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        # The API's schema is public: its requests count by address only.
        if request.user is not None:
            self.retry_after_s = counter.add(account_rate(), str(request.user.pk))
        return self.retry_after_s is None

    def wait(self) -> float | None:
        return self.retry_after_s
