"""Migrations run while the release before them is at work (docs/operations.md): what would stop it is found here."""

import pytest
from django.apps import apps
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models.fields import NOT_PROVIDED

OURS = ("orders", "infrastructure")
# Those up to here made the tables of the first release, in which nothing was at work yet.
FIRST_RELEASE = {"orders": 1, "infrastructure": 1}
# Operations that were looked at and found harmless: migration -> why.
REVIEWED: dict[str, str] = {}
ADVICE = {
    "RemoveField": "the release before still reads the column: first a release that does not, then this",
    "DeleteModel": "the release before still reads the table: first a release that does not, then this",
    "RenameField": "the release before knows the old name only: add, copy, remove, over three releases",
    "RenameModel": "the release before knows the old name only",
    "AlterField": "a new type rewrites the table under a lock, and a new NOT NULL reads all of it under one",
    "AddIndex": "it blocks writers while it builds: use AddIndexConcurrently, in a migration of its own with atomic = False",
    "AddConstraint": "it reads the whole table under a lock: use AddConstraintNotValid, then ValidateConstraint",
    "RunPython": "it may hold locks for as long as the table is large: change rows in chunks, with a command",
    "RunSQL": "nobody can tell what it locks",
}

# Those that neither lock a table for long nor change what the release before sees.
HARMLESS = {
    *("CreateModel", "AddIndexConcurrently", "RemoveIndexConcurrently", "AddConstraintNotValid", "ValidateConstraint"),
    *("RemoveConstraint", "AlterModelOptions", "AlterModelManagers"),
}


def problem_of(operation: Operation) -> str | None:
    name = type(operation).__name__
    if isinstance(operation, migrations.AddField):
        field = operation.field
        if not field.null and field.db_default is NOT_PROVIDED:
            return "the release before inserts rows without this column: it needs null=True or db_default"
        return "it builds an index under a lock" if field.unique or getattr(field, "db_index", False) else None
    if name in HARMLESS:
        return None
    return ADVICE.get(name, "nobody has looked at what it locks, or what the release before makes of it")


def problems(migration: migrations.Migration) -> list[str]:
    made_here = {operation.name_lower for operation in migration.operations if isinstance(operation, migrations.CreateModel)}
    found = []
    for operation in migration.operations:
        # Nobody waits for a table that is new.
        if getattr(operation, "model_name_lower", getattr(operation, "model_name", None)) in made_here:
            continue
        if problem := problem_of(operation):
            found.append(f"{migration.app_label}.{migration.name} {operation.describe()}: {problem}")
    return found


def ours() -> list[migrations.Migration]:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    assert all(apps.is_installed(app) for app in OURS)
    return [
        migration
        for (app, name), migration in loader.disk_migrations.items()
        if app in OURS and int(name[:4]) > FIRST_RELEASE[app] and f"{app}.{name}" not in REVIEWED
    ]


def test_no_migration_stops_the_release_before_it() -> None:
    assert [problem for migration in ours() for problem in problems(migration)] == []


@pytest.mark.parametrize(
    ("operation", "is_dangerous"),
    [
        (migrations.RemoveField("order", "side"), True),
        (migrations.RenameField("order", "side", "direction"), True),
        (migrations.RunPython(migrations.RunPython.noop), True),
        (migrations.AddField("order", "note", models.TextField(default="")), True),
        (migrations.SeparateDatabaseAndState(), True),
        (migrations.AlterModelTable("order", "orders"), True),
        (migrations.AlterUniqueTogether("order", {("side", "type")}), True),
        (migrations.AlterModelOptions("order", {}), False),
        (migrations.AddField("order", "note", models.TextField(null=True)), False),
        (migrations.AddField("order", "note", models.TextField(db_default="")), False),
    ],
    ids=lambda value: value.describe() if isinstance(value, Operation) else "",
)
def test_the_check_knows_what_is_dangerous(operation: Operation, is_dangerous: bool) -> None:
    new = type("New", (migrations.Migration,), {"operations": [operation]})
    assert bool(problems(new("9999_new", "orders"))) is is_dangerous
