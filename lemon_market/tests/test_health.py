from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from infrastructure.database.errors import DatabaseUnavailable

PROBES = ["/health/live", "/health/ready"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", PROBES)
def test_probes_answer_ok(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert client.head(path).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_probes_can_only_be_read(client: Client, path: str, method: str) -> None:
    assert getattr(client, method)(path).status_code == 405


@pytest.mark.django_db
def test_a_database_that_lacks_a_migration_is_named(client: Client) -> None:
    MigrationRecorder.Migration.objects.filter(app="orders").order_by("-id")[0].delete()
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "problems": {"migrations": "The database lacks migrations: run manage.py migrate."},
    }


@pytest.mark.django_db
def test_a_database_that_is_ahead_of_this_release_is_fine(client: Client) -> None:
    MigrationRecorder(connection).record_applied("orders", "9999_from_the_next_release")
    assert client.get("/health/ready").status_code == 200


def test_a_database_that_is_away_is_named_and_the_process_is_still_alive(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: Any) -> None:
        raise DatabaseUnavailable("connection refused, password=secret")

    monkeypatch.setattr(connection, "cursor", unavailable)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "problems": {"database": "The database is not available."}}
    assert client.get("/health/live").status_code == 200


def test_the_exchange_has_no_say_in_readiness(client: Client, db: None, settings: Any) -> None:
    settings.EXCHANGE_URL = "http://127.0.0.1:1"
    assert client.get("/health/ready").status_code == 200
