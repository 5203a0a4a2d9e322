"""Wake-ups tell placement loops that orders are due, over either transport.

A wake-up carries no information that matters. The order row is the truth, so a lost, doubled or late wake-up costs a second
at most.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from orders.transport import transport


class WakeUps(Protocol):
    """A running loop's view of the transport."""

    def arrivals(self) -> AsyncIterator[None]:
        """Yield after wake-ups arrive; several may count as one. Never ends by itself."""
        ...

    def begin_claim(self) -> None:
        """Called right before a claim, which serves all wake-ups seen so far."""
        ...

    def end_claim(self) -> None:
        """Called when the claim is committed: these wake-ups are done."""
        ...


class Carrier(Protocol):
    """The functions of a transport's module in this package."""

    def wake_workers(self, order_ids: Sequence[uuid.UUID]) -> None:
        """Tell workers, when the caller's transaction commits, that these orders are due."""

    def notify_workers(self, order_ids: Sequence[uuid.UUID]) -> None:
        """Wake running workers when the caller's transaction commits. The caller has queued the task, if one is needed."""

    def wake_workers_again(self) -> None:
        """Send the sweep's wake-ups, for orders that are already due."""

    def task_parameters(self) -> dict[str, Any]:
        """The parameters of `django_q.QUEUE_TASK`, for a statement that stores orders and queues the task at once."""


def carrier() -> Carrier:
    """The module of the transport in use."""
    return cast("Carrier", import_module(transport().wakeups))
