"""What `manage.py backup` and `restore` refuse; the drill in test_restore_drill shows that they work."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from infrastructure.database.parameters import program_parameters
from lemon_market.backup_directory import only_one_at_a_time

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
    with pytest.raises(CommandError, match="sslpassword of DATABASE_URL cannot be passed on"):
        call_command("backup", str(tmp_path / "backup"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def directory(tmp_path: Path, settings: Any) -> Path:
    """BACKUP_DIR, with three old backups, what one left that was killed, and somebody's own file."""
    settings.BACKUP_DIR = tmp_path
    for day in (1, 2, 3):
        (tmp_path / old(day)).touch()
    (tmp_path / f"{old(4)}.unfinished").touch()
    (tmp_path / "lemon-market-before-the-move.dump").touch()
    return tmp_path


def old(day: int) -> str:
    return f"lemon-market-2020-01-0{day}T000000Z.dump"


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")}


def test_the_newest_backups_are_kept_and_nothing_else_is_touched(directory: Path) -> None:
    call_command("backup", "--keep", "2")
    [new] = names(directory) - {old(3), "lemon-market-before-the-move.dump"}
    assert (directory / new).read_bytes().startswith(b"PGDMP")


def test_no_backup_is_removed_unless_wanted(directory: Path) -> None:
    call_command("backup")
    assert {old(1), old(2), old(3)} < names(directory)


def test_a_backup_that_fails_costs_none_of_the_older_ones(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(directory)
    # We are connected already, and pg_dump cannot connect like this.
    connection.ensure_connection()
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "sslmode", "require")
    with pytest.raises(CommandError, match="sslmode"):
        call_command("backup", "--keep", "1")
    assert names(directory) == before


def test_a_backup_that_is_made_at_the_same_time_is_left_alone(directory: Path) -> None:
    before = names(directory)
    with only_one_at_a_time(directory), pytest.raises(CommandError, match="another backup is being made"):
        call_command("backup", "--keep", "1")
    assert names(directory) == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "Name a file, or set BACKUP_DIR"),
        (["--keep", "2", "file"], "leave out the file"),
        (["--keep", "0"], "1 or more"),
        (["--keep", "-1"], "1 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], reason: str, settings: Any) -> None:
    settings.BACKUP_DIR = None
    with pytest.raises(CommandError, match=reason):
        call_command("backup", *words)
