"""Runs one of the project's commands with a wrong clock: `python -m chaos.wrong_clock SECONDS command args...`.

Only the program's clock is wrong, `django.utils.timezone.now`; the computer's and the database's stay right.
"""

import os
import signal
import sys
from datetime import timedelta

from django.core.management import execute_from_command_line
from django.utils import timezone

from infrastructure.process_signals import die_with_parent


def main() -> None:
    die_with_parent(signal.SIGKILL)
    ahead, right_now = timedelta(seconds=float(sys.argv[1])), timezone.now
    timezone.now = lambda: right_now() + ahead
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")
    # The settings read the name of the program from there.
    sys.argv = ["manage.py", *sys.argv[2:]]
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
