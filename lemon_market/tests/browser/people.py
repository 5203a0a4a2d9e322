"""The people of the browser tests: run as a program, it makes their accounts in the installation that DATA_DIR names.

One of them may not place large orders, and nobody may trade in one instrument.
"""

import django

PASSWORD = "only-for-tests-7"
TRADER, VIEWER, OPERATOR = "tara", "vera", "otto"
LARGEST = 5000
HALTED = "GAME_2026_12"
ROLES = {TRADER: None, VIEWER: "desk viewer", OPERATOR: "desk operator"}


def make() -> None:
    # Models can be imported only when Django is set up.
    from django.contrib.auth.models import Group, User  # noqa: PLC0415

    from orders.models import AccountLimits  # noqa: PLC0415
    from orders.risk.switches import halt_trading  # noqa: PLC0415

    for name, role in ROLES.items():
        person = User.objects.create_user(name, password=PASSWORD, is_staff=role is not None)
        person.groups.set(Group.objects.filter(name=role))
    AccountLimits.objects.create(account=User.objects.get(username=TRADER), max_quantity=LARGEST)
    halt_trading(OPERATOR, "its prices contradict the news", instrument=HALTED)


if __name__ == "__main__":
    django.setup()
    make()
