"""What `manage.py backup` and `restore` refuse; the drill in test_restore_drill shows that they work."""

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from lemon_market.database.parameters import program_parameters

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_backup_is_there_as_a_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    call_command("backup", str(tmp_path / "backup"))
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    assert (tmp_path / "backup").read_bytes().startswith(b"PGDMP")


def test_a_backup_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("backup", str(tmp_path / "no such directory" / "backup"))


def test_nothing_is_restored_over_a_database_that_has_something(tmp_path: Path) -> None:
    call_command("backup", str(tmp_path / "backup"))
    with pytest.raises(CommandError, match="the database is not empty"):
        call_command("restore", str(tmp_path / "backup"))


def test_a_program_is_given_all_settings_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    for keyword, value in {"sslmode": "verify-full", "sslrootcert": "/my ca", "keepalives_idle": "5"}.items():
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], keyword, value)
    given = program_parameters()
    wanted = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/my ca", "PGPASSWORD": connection.settings_dict["PASSWORD"]}
    assert wanted.items() <= given.environment.items()
    # libpq has no variable for it.
    assert given.dbname == "keepalives_idle=5"


def test_no_secret_is_handed_on_where_others_see_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "sslpassword", "of my key")
    with pytest.raises(CommandError, match="sslpassword of DATABASE_URL cannot be handed on"):
        call_command("backup", str(tmp_path / "backup"))
    assert list(tmp_path.iterdir()) == []
