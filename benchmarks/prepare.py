"""Prepares the database of the environment for measures, and prints what they need as JSON.

    python -m benchmarks.prepare ACCOUNTS

migrates, creates accounts with a token each and an administrator with a session, and prints the command of each process as
`manage.py up` would start it.
"""

import json
import os
import sys

import django
from django.core.management import call_command
from django.test import Client


def main(count: int) -> None:
    # Models can be imported only when Django is set up.
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.contrib.sessions.models import Session  # noqa: PLC0415
    from knox.models import AuthToken  # noqa: PLC0415

    from devstack import processes  # noqa: PLC0415

    call_command("migrate", verbosity=0, interactive=False)
    Session.objects.all().delete()
    AuthToken.objects.all().delete()
    accounts = [User.objects.get_or_create(username=f"bench-{number}")[0] for number in range(count)]
    person = User.objects.filter(username="admin").first() or User.objects.create_superuser("admin")
    Client().force_login(person)
    document = {
        "accounts": [account.pk for account in accounts],
        "tokens": [AuthToken.objects.create(account)[1] for account in accounts],
        "session": Session.objects.get().session_key,
        "services": {process.name: process.command for process in processes.services()},
    }
    sys.stdout.write(json.dumps(document))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")
    django.setup()
    main(int(sys.argv[1]))
