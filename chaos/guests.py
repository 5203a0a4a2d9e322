"""A worker with a wrong clock joins the others for a while, and leaves nothing behind."""

import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil

from testsupport.installation import CHECKOUT
from testsupport.system import System
from testsupport.waiting import wait_until

# In the command lines of a guest and of its children, which only this module ends.
GUEST = "chaos.wrong_clock"
COMMAND = {"django_q": "qcluster", "kafka": "run_exchange_consumer"}
STARTED_S = 180.0
# A worker ends once its open requests to the exchange are answered.
ENDED_S = 20.0


def join_for_a_while(system: System, ahead_s: int, seconds: float, sent: signal.Signals) -> None:
    """Let a worker whose clock is `ahead_s` ahead work for so many seconds, and then send it the signal `sent`."""
    command = [sys.executable, "-m", GUEST, str(ahead_s), COMMAND[system.transport]]
    environment = system.installation.environment
    with system.installation.output.with_name("guests").open("ab") as output:
        guest = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    # It registers itself when it starts. The sweep may end it at any time, like any worker.
    registered = system.installation.data_dir / "workers"
    name = f"{guest.pid}-*"
    try:
        wait_until(lambda: any(registered.glob(name)) or guest.poll() is not None, within_s=STARTED_S, what="the guest works")
        time.sleep(seconds)
    finally:
        end(guest, sent)


def end(guest: "subprocess.Popen[bytes]", sent: signal.Signals) -> None:
    family = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(guest.pid).children(recursive=True)
    guest.send_signal(sent)
    with suppress(subprocess.TimeoutExpired):
        guest.wait(ENDED_S)
    guest.kill()
    guest.wait()
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(family, timeout=ENDED_S)
