"""The connections in the live stream, and which of them may see which events."""

import asyncio
from collections.abc import Iterable
from itertools import chain
from time import monotonic

from notifications.connection import Connection
from orders.events.stream import Snapshot

# How long one page of events may wait for clients that are still receiving earlier ones.
MAX_PAUSE_S = 2.0
PAUSE_POLL_S = 0.005


class Audience:
    """A connection waits until the stream admits it at a snapshot, and is then offered the events after that snapshot."""

    def __init__(self) -> None:
        self._of_account: dict[int, dict[Connection, Snapshot]] = {}
        self._of_staff: dict[Connection, Snapshot] = {}
        self._joining: dict[Connection, asyncio.Future[Snapshot]] = {}
        # Admitted, but offered nothing before `activate`.
        self._admitted: dict[Connection, Snapshot] = {}
        # Set when a connection wants to join, and when there may be new events.
        self.changed = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not (self._of_account or self._of_staff)

    @property
    def is_awaited(self) -> bool:
        """Whether a connection waits to join."""
        return bool(self._joining)

    @property
    def accounts(self) -> list[int] | None:
        """The accounts whose events connections want; None for all accounts."""
        return None if self._of_staff else list(self._of_account)

    async def join(self, connection: Connection) -> Snapshot:
        """Join the stream, waiting until admitted. The connection is not offered events that the returned snapshot saw."""
        joined: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._joining[connection] = joined
        self.changed.set()
        try:
            return await joined
        finally:
            self._joining.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """Stop offering events to the connection."""
        self._admitted.pop(connection, None)
        self._of_staff.pop(connection, None)
        if connection.identity is not None:
            account_id = connection.identity.account_id
            connections = self._of_account.get(account_id, {})
            connections.pop(connection, None)
            if not connections:
                self._of_account.pop(account_id, None)

    def admit(self, snapshot: Snapshot) -> None:
        """Admit all waiting connections at `snapshot`."""
        for connection, joined in self._joining.items():
            if not joined.done():
                joined.set_result(snapshot)
                self._admitted[connection] = snapshot

    def activate(self) -> None:
        """Start offering events to the admitted connections."""
        for connection, snapshot in self._admitted.items():
            if connection.identity is not None and not connection.identity.sees_all:
                self._of_account.setdefault(connection.identity.account_id, {})[connection] = snapshot
            elif connection.identity is not None:
                self._of_staff[connection] = snapshot
        self._admitted.clear()

    def members(self) -> Iterable[Connection]:
        return [*self._of_staff, *chain.from_iterable(self._of_account.values())]

    def recipients(self, account_id: int) -> Iterable[tuple[Connection, Snapshot]]:
        """The connections that may see the account's events, with the snapshots at which they joined."""
        return chain(self._of_staff.items(), self._of_account.get(account_id, {}).items())

    async def apply_backpressure(self) -> None:
        """Pause while clients catch up, so that a burst does not cut off clients that are merely busy."""
        deadline = monotonic() + MAX_PAUSE_S
        # Signalling with every message would cost more than this occasional polling.
        while monotonic() < deadline and any(c.is_worth_waiting_for for c in self.members()):  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_POLL_S)
