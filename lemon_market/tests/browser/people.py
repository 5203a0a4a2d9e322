"""The people of the browser tests: run as a program, it makes their accounts in the installation that DATA_DIR names."""

import django

PASSWORD = "only-for-tests-7"
TRADER, VIEWER, OPERATOR = "tara", "vera", "otto"
ROLES = {TRADER: None, VIEWER: "desk viewer", OPERATOR: "desk operator"}


def make() -> None:
    # Models can be imported only when Django is set up.
    from django.contrib.auth.models import Group, User  # noqa: PLC0415

    for name, role in ROLES.items():
        person = User.objects.create_user(name, password=PASSWORD, is_staff=role is not None)
        person.groups.set(Group.objects.filter(name=role))


if __name__ == "__main__":
    django.setup()
    make()
