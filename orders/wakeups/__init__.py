"""Wake-ups: how placement loops learn that orders are due, over either transport.

A wake-up carries nothing that counts. The order row is the truth, so one that is lost, doubled or late costs a second
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
        """Yields after wake-ups came, several counting as one; never ends by itself."""
        ...

    def begin_claim(self) -> None:
        """Called right before a claim, which does all that the wake-ups seen so far ask for."""
        ...

    def end_claim(self) -> None:
        """The claim is committed: these wake-ups have done their work."""
        ...


class Carrier(Protocol):
    """What a transport's module in this package has."""

    def wake_workers(self, order_ids: Sequence[uuid.UUID]) -> None: ...
    def notify_workers(self, order_ids: Sequence[uuid.UUID]) -> None: ...
    def wake_workers_again(self) -> None: ...
    def task_parameters(self) -> dict[str, Any]: ...


def carrier() -> Carrier:
    return cast("Carrier", import_module(transport().wakeups))


def wake_workers(order_ids: Sequence[uuid.UUID]) -> None:
    """Let workers know, when the caller's transaction commits, that these orders are due."""
    carrier().wake_workers(order_ids)


def notify_workers(order_ids: Sequence[uuid.UUID]) -> None:
    """Wake those that are running, when the caller's transaction commits; it has queued the task, if one is needed."""
    carrier().notify_workers(order_ids)


def wake_workers_again() -> None:
    """The sweep's wake-ups for orders that are due already."""
    carrier().wake_workers_again()


def task_parameters() -> dict[str, Any]:
    """Of `django_q.QUEUE_TASK`, for a statement that queues the task along with what it stores."""
    return carrier().task_parameters()
