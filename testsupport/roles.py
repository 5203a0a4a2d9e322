"""The roles of the back office, as the migrations make them."""

from importlib import import_module

from django.apps import apps

# Each migration that gives roles something.
MIGRATIONS = [
    import_module("orders.migrations.0006_order_desk").make_roles,
    import_module("orders.migrations.0007_safety_roles").make_roles,
    import_module("orders.migrations.0010_contradictions").make_roles,
]


def make_roles() -> None:
    for migrate in MIGRATIONS:
        migrate(apps, None)
