"""One of the project's commands with a clock that is wrong: `python -m chaos.wrong_clock SECONDS command args...`.

The clock is that of the program alone, `django.utils.timezone.now`; the computer's and the database's stay right.
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
    # The settings look there for the name of the program.
    sys.argv = ["manage.py", *sys.argv[2:]]
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
