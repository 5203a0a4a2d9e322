"""A guest: only its own clock is wrong, it passes for an ordinary worker, and it leaves nothing behind."""

import signal
import subprocess
import sys

import psutil
import pytest

from chaos.guests import end
from testsupport.installation import CHECKOUT
from testsupport.waiting import wait_until

PROGRAM = """
import sys
from datetime import UTC, datetime
from django.core import management
from django.utils import timezone
def tell(arguments):
    print(round((timezone.now() - datetime.now(UTC)).total_seconds()), *arguments)
management.execute_from_command_line = tell
from chaos import wrong_clock
wrong_clock.main()
"""


def test_the_clock_of_one_program_is_wrong() -> None:
    command = [sys.executable, "-c", PROGRAM, "-3600", "qcluster", "--name", "guest"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["-3600", "manage.py", "qcluster", "--name", "guest"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_guest_leaves_nothing_behind(sent: signal.Signals) -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import signal; signal.pause()'])"
    guest = subprocess.Popen([sys.executable, "-c", program])
    [child] = wait_until(psutil.Process(guest.pid).children, what="its child is there")
    end(guest, sent)
    assert guest.returncode == -sent
    assert not child.is_running()
