"""Reading events over a crash of PostgreSQL, which hands out numbers of transactions a second time."""

import os
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psycopg
import pytest
from django.db import connection

from devstack import local_install
from devstack.embedded_postgres import Server
from orders.events import stream as event_stream
from orders.events.stream import StreamPosition, current_snapshot, events_after

TABLE = (
    "CREATE TABLE orders_orderevent (id bigserial, account_id integer, tx xid8 DEFAULT pg_current_xact_id());"
    "CREATE INDEX ON orders_orderevent (tx)"
)
WRITE = "INSERT INTO orders_orderevent (account_id) VALUES (1) RETURNING id, tx::text"


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[Any]:
    """The connection that `event_stream` reads through: to a server that the test starts in `tmp_path`."""
    given = psycopg.conninfo.conninfo_to_dict(local_install.load(tmp_path).postgres_url)
    elsewhere = connection.copy()
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    elsewhere.settings_dict |= {theirs: given[name] for name, theirs in names.items()}
    monkeypatch.setattr(event_stream, "connection", elsewhere)
    yield elsewhere
    elsewhere.close()


def test_an_event_is_found_whose_transaction_has_the_number_of_one_that_the_crash_forgot(reader: Any, tmp_path: Path) -> None:
    url = local_install.load(tmp_path).postgres_url
    server = Server(tmp_path)
    try:
        with psycopg.connect(url, autocommit=True) as writer:
            # What does not wait for the disk reaches it much later than anything here.
            writer.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
            writer.execute("SELECT pg_reload_conf()")
            writer.execute(TABLE.encode())
            writer.execute(WRITE)
            for _ in range(20):
                writer.execute("NOTIFY anything")
            [(used,)] = writer.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
            known = current_snapshot()
        os.kill(server.pid, SIGKILL)
        server.stop()
        reader.close()
        server = Server(tmp_path)
        with psycopg.connect(url, autocommit=True) as writer:
            [(number, tx)] = writer.execute(WRITE)
        assert events_after(StreamPosition(known)).ids == [number]
        # Otherwise this shows nothing.
        assert int(tx) < int(used)
    finally:
        reader.close()
        server.stop()
