"""What is done to the system: each fault is over when its function returns, and its effects may not be."""

import json
import random
import signal
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from lemon_market.tests.system import System

# Part of the command lines of the processes that each transport has.
COMMON = ("granian", "run_sweep", "run_update_consumer", "run_notification_service", "run_exchange_simulator")
OF_TRANSPORT = {
    "django_q": ("qcluster",),
    "kafka": ("run_exchange_consumer", "run_update_recorder", "run_outbox_relay", "kafka.Kafka"),
}
DATABASE = "postgres -D"
# What the simulated exchange does wrong during a trial; the rest of its faults come one at a time.
WRONG = {
    "latency": 0.1,
    "unavailable_rate": 0.1,
    "cut_rate": 0.03,
    "timeout_rate": 0.02,
    "refuse_rate": 0.02,
    "reject_rate": 0.02,
    "look_up_failure_rate": 0.1,
    "early_report_rate": 0.2,
    "repeat_rate": 0.2,
    "cancel_race_rate": 0.2,
    "delay": 0.2,
}
RIGHT = dict.fromkeys(WRONG, 0.0)
LONGEST_FREEZE_S = 8.0


@dataclass(frozen=True)
class Fault:
    """`name` says to whom and what."""

    name: str
    inflict: Callable[[], None]


def control(system: System, wishes: dict[str, object]) -> None:
    """Ask the simulated exchange for something; one that is away is asked again by whoever needs it."""
    url = f"http://127.0.0.1:{system.installation.environment['EXCHANGE_PORT']}/control"
    request = urllib.request.Request(url, json.dumps(wishes).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - http it is
        pass


def next_fault(system: System, chance: random.Random) -> Fault:
    """Any of them, each as likely as any other."""
    return chance.choice([process_fault, process_fault, process_fault, database_fault, exchange_fault])(system, chance)


def process_fault(system: System, chance: random.Random) -> Fault:
    """One process of one kind, parents and children alike, is killed, stopped for a while, or told to end."""
    kind = chance.choice([*COMMON, *OF_TRANSPORT[system.transport]])
    pids = system.installation.pids(kind)
    if not pids:
        return Fault(f"{kind} is away already", lambda: None)
    number = chance.randrange(len(pids))
    name = f"{kind} #{number}" if len(pids) > 1 else kind
    how = chance.choice(["killed", "frozen", "told to end"])
    if how == "frozen":
        seconds = round(chance.uniform(1.0, LONGEST_FREEZE_S), 1)
        return Fault(f"{name} is frozen for {seconds} s", lambda: freeze([pids[number]], seconds))
    sent = signal.SIGKILL if how == "killed" else signal.SIGTERM
    return Fault(f"{name} is {how}", lambda: send(pids[number], sent))


def database_fault(system: System, chance: random.Random) -> Fault:
    """PostgreSQL as a whole is killed or frozen, or one of its processes is."""
    pids = postgres_processes(system)
    if not pids:
        return Fault("PostgreSQL is away already", lambda: None)
    how = chance.choice(["killed", "frozen", "one process"])
    if how == "frozen":
        return Fault("PostgreSQL is frozen for 3 s", lambda: freeze(pids, 3.0))
    if how == "killed":
        return Fault("PostgreSQL is killed", lambda: send(pids[0], signal.SIGKILL))
    victim = chance.choice(pids[1:] or pids)
    return Fault("one process of PostgreSQL is killed", lambda: send(victim, signal.SIGKILL))


def exchange_fault(system: System, chance: random.Random) -> Fault:
    """Its feed is cut, its session begins anew, or it is closed for a while."""
    wish = chance.choice(["cut_feed", "new_session", "close"])
    if wish != "close":
        return Fault(f"the exchange: {wish}", lambda: tell(system, {wish: True}))

    def close_for_a_while() -> None:
        tell(system, {"close": True})
        time.sleep(3.0)
        tell(system, {"open": True})

    return Fault("the exchange is closed for 3 s", close_for_a_while)


def tell(system: System, wishes: dict[str, object]) -> None:
    # A simulator that was killed a moment ago starts again open, in its old session.
    with suppress(OSError):
        control(system, wishes)


def postgres_processes(system: System) -> list[int]:
    """The server's first process, and its children."""
    with suppress(psutil.NoSuchProcess):
        for pid in system.installation.pids(DATABASE):
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def send(pid: int, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).send_signal(number)


def freeze(pids: list[int], seconds: float) -> None:
    for pid in pids:
        send(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        send(pid, signal.SIGCONT)
