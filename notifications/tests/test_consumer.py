"""What happens between two reads, where a real database gives no time to look."""

import asyncio
from typing import Any
from uuid import UUID

import orjson
import pytest

from notifications.connection import Connection
from notifications.identity import Identity
from notifications.resuming import Resumption
from notifications.service import Service
from notifications.tests.talking import never
from orders.events.stream import (
    EVENTS_PER_PAGE,
    EncodedEvent,
    EventsFound,
    Snapshot,
    StreamPosition,
    encoded_events,
    events_after,
    position_after,
)

ANNA = Identity(7, "anna", sees_all=False)
KNOWN, SECOND, THIRD, JOINED = Snapshot("10:10:"), Snapshot("20:25:21"), Snapshot("30:30:"), Snapshot("40:40:")


class ScriptedDatabase:
    """Answers reads with what is expected next, and notes what was asked."""

    def __init__(self, found: list[EventsFound]) -> None:
        self.found = found
        self.asked: list[tuple[Any, ...]] = []

    async def run(self, work: Any, *args: Any) -> Any:
        if work is position_after:
            return StreamPosition(KNOWN, 9, 3)
        if work is events_after:
            self.asked.append(args)
            return self.found.pop(0)
        assert work is encoded_events
        texts = {number: orjson.dumps({"event_id": str(number)}).decode() for number in args[0]}
        return [EncodedEvent(ANNA.account_id, text, UUID(int=number), 1) for number, text in texts.items()]


def connection_to(sent: list[str]) -> Connection:
    async def send(message: dict[str, Any]) -> None:
        sent.append(message["text"])

    connection = Connection(never, send)
    connection.identity = ANNA
    return connection


def test_what_happens_while_one_catches_up_and_joins_is_sent_too(monkeypatch: pytest.MonkeyPatch):
    first_page = list(range(1, EVENTS_PER_PAGE + 1))
    script = [EventsFound(SECOND, first_page, False), EventsFound(THIRD, [2001], False), EventsFound(JOINED, [2002, 2003], False)]
    database = ScriptedDatabase(script)
    sent: list[str] = []

    async def join(_connection: Connection) -> Snapshot:
        assert len(database.asked) == 2
        return JOINED

    async def run() -> None:
        service = Service()
        monkeypatch.setattr(service, "database", database)
        monkeypatch.setattr(service.resumes, "_database", database)
        monkeypatch.setattr(service.audience, "join", join)
        await Resumption(service, connection_to(sent), ANNA).catch_up("3")

    asyncio.run(run())
    assert [orjson.loads(text).get("event_id") for text in sent] == [None, *map(str, [*first_page, 2001, 2002, 2003])]
    own = [ANNA.account_id]
    assert database.asked == [
        (StreamPosition(KNOWN, 9, 3), own),
        (StreamPosition(SECOND), own),
        (StreamPosition(THIRD), own, JOINED),
    ]


def test_who_has_left_is_forgotten():
    async def run() -> None:
        service = Service()
        connection = connection_to([])
        service.enter(connection)
        joining = asyncio.create_task(service.audience.join(connection))
        await asyncio.sleep(0)
        service.audience.admit(JOINED)
        service.audience.activate()
        assert await joining == JOINED
        assert service.audience.members() == [connection]
        service._of_account[ANNA.account_id] += 1
        service.leave(connection)
        assert (service.audience.members(), service.audience.accounts) == ([], [])
        assert (service._connections, service._of_account) == (set(), {})

    asyncio.run(run())
