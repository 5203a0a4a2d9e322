"""The roles of staff and what each may do in the back office, as data. A migration creates a group for each role."""

from collections.abc import Iterator
from typing import Any

# Model ("app.model") -> permissions of it.
Grants = dict[str, list[str]]
READ: Grants = {
    "orders.order": ["view_order", "export_order"],
    "orders.deadletter": ["view_deadletter"],
    "orders.feedposition": ["view_feedposition"],
    "orders.feedconnection": ["view_feedconnection"],
    "orders.halt": ["view_halt"],
    "orders.accountlimits": ["view_accountlimits"],
    "orders.safetyevent": ["view_safetyevent"],
}
# Operators may halt trading. Only an administrator may resume it or set limits.
ACT: Grants = {"orders.order": ["retry_order", "cancel_order", "end_order"], "orders.halt": ["halt_trading"]}
ADMINISTER: Grants = {
    "orders.halt": ["resume_trading"],
    "orders.accountlimits": ["change_accountlimits"],
    "auth.user": ["add_user", "change_user", "delete_user", "view_user"],
    "auth.group": ["add_group", "change_group", "delete_group", "view_group"],
    "knox.authtoken": ["delete_authtoken", "view_authtoken"],
}
ROLES: dict[str, list[Grants]] = {
    "desk viewer": [READ],
    "desk operator": [READ, ACT],
    "administrator": [READ, ACT, ADMINISTER],
}


def permissions_of(role: str) -> Iterator[tuple[str, str]]:
    """Yield pairs of model and permission, such as ("orders.order", "view_order")."""
    for grants in ROLES[role]:
        for model, codenames in grants.items():
            yield from ((model, codename) for codename in codenames)


def make_roles(apps: Any, _schema_editor: object) -> None:
    """Create the groups, or give existing ones the permissions they lack. `apps` is a migration's registry or the current one.

    Django creates permissions only after all migrations (signal post_migrate), so the ones that are needed are created here.
    Django then finds them.
    """
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    Group = apps.get_model("auth", "Group")
    for role in ROLES:
        group, _ = Group.objects.get_or_create(name=role)
        for label, codename in permissions_of(role):
            app, model = label.split(".")
            content_type, _ = ContentType.objects.get_or_create(app_label=app, model=model)
            permission, _ = Permission.objects.get_or_create(
                content_type=content_type, codename=codename, defaults={"name": name_of(apps.get_model(app, model), codename)}
            )
            group.permissions.add(permission)


def name_of(model: Any, codename: str) -> str:
    """The permission's name: the model's own if it defines one, otherwise the one that Django makes."""
    options = model._meta  # noqa: SLF001 - how a model is asked for its names
    return str(dict(options.permissions).get(codename, f"Can {codename.split('_', maxsplit=1)[0]} {options.verbose_name}"))
