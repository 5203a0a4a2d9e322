"""The connections that take part in the live stream, and who of them may see what."""

import asyncio
from collections.abc import Iterable
from itertools import chain
from time import monotonic

from notifications.connection import Connection
from orders.events.stream import Snapshot

# How long one page of events may wait for clients that are busy with earlier ones.
MAX_PAUSE_S = 2.0
PAUSE_POLL_S = 0.005


class Audience:
    """A connection waits to join until a stream lets it in at a snapshot; from then on it is offered what came after."""

    def __init__(self) -> None:
        self._of_account: dict[int, dict[Connection, Snapshot]] = {}
        self._of_staff: dict[Connection, Snapshot] = {}
        self._joining: dict[Connection, asyncio.Future[Snapshot]] = {}
        # Let in, and offered nothing before `activate`.
        self._admitted: dict[Connection, Snapshot] = {}
        # Set when somebody wants to join.
        self.changed = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not (self._of_account or self._of_staff)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits to join."""
        return bool(self._joining)

    @property
    def accounts(self) -> list[int] | None:
        """Those whose events somebody wants to see; None stands for all."""
        return None if self._of_staff else list(self._of_account)

    async def join(self, connection: Connection) -> Snapshot:
        """Take the connection in; what the returned snapshot saw, it will not be offered. Waits for the stream."""
        joined: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._joining[connection] = joined
        self.changed.set()
        try:
            return await joined
        finally:
            self._joining.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """Offer it nothing more."""
        self._admitted.pop(connection, None)
        self._of_staff.pop(connection, None)
        if connection.identity is not None:
            account_id = connection.identity.account_id
            own = self._of_account.get(account_id, {})
            own.pop(connection, None)
            if not own:
                self._of_account.pop(account_id, None)

    def admit(self, snapshot: Snapshot) -> None:
        """Let in whoever waits."""
        for connection, joined in self._joining.items():
            if not joined.done():
                joined.set_result(snapshot)
                self._admitted[connection] = snapshot

    def activate(self) -> None:
        """From now on those that were let in are offered events."""
        for connection, snapshot in self._admitted.items():
            if connection.identity is not None and not connection.identity.sees_all:
                self._of_account.setdefault(connection.identity.account_id, {})[connection] = snapshot
            elif connection.identity is not None:
                self._of_staff[connection] = snapshot
        self._admitted.clear()

    def members(self) -> Iterable[Connection]:
        return [*self._of_staff, *chain.from_iterable(self._of_account.values())]

    def recipients(self, account_id: int) -> Iterable[tuple[Connection, Snapshot]]:
        """Members with the snapshots that they joined at."""
        return chain(self._of_staff.items(), self._of_account.get(account_id, {}).items())

    async def apply_backpressure(self) -> None:
        """A burst must not cut off clients that are only waiting for their turn."""
        deadline = monotonic() + MAX_PAUSE_S
        # An event would cost more with every message than this costs now and then.
        while monotonic() < deadline and any(c.is_worth_waiting_for for c in self.members()):  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_POLL_S)
