"""The people of the browser tests: run as a program, it makes their accounts in the installation that DATA_DIR names."""

import django

PASSWORD = "only-for-tests-7"
TRADER, VIEWER, OPERATOR = "tara", "vera", "otto"
PERMISSIONS = {
    TRADER: [],
    VIEWER: ["view_order"],
    OPERATOR: ["view_order", "retry_order", "cancel_order"],
}


def make() -> None:
    # Models can be imported only when Django is set up.
    from django.contrib.auth.models import Permission, User  # noqa: PLC0415

    for name, permissions in PERMISSIONS.items():
        person = User.objects.create_user(name, password=PASSWORD, is_staff=bool(permissions))
        person.user_permissions.set(Permission.objects.filter(codename__in=permissions))


if __name__ == "__main__":
    django.setup()
    make()
