"""What is done to the system: each fault is over when its function returns, and its effects may not be."""

import json
import random
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

from lemon_market.tests.system import System

# Part of the command lines of the processes that each transport has, and how many there are of each.
COMMON = {
    "granian": 3,
    "run_sweep": 1,
    "run_update_consumer": 1,
    "run_notification_service": 1,
    "run_exchange_simulator": 1,
}
OF_TRANSPORT = {
    # The parent and its guard, two workers, the one that fetches tasks and the one that stores results.
    "django_q": {"qcluster": 6},
    "kafka": {"run_exchange_consumer": 2, "run_update_recorder": 2, "run_outbox_relay": 1, "kafka.Kafka": 1},
}
DATABASE = "postgres -D"
POSTGRES, EXCHANGE = "PostgreSQL", "the exchange"
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


def roles(transport: str) -> dict[str, int]:
    return COMMON | OF_TRANSPORT[transport]


def dealt(transport: str, chance: random.Random) -> Iterator[tuple[str, str, int]]:
    """Victim, what is done to it, and which of its processes: every pair of these once before any comes again."""
    cards = [
        (victim, how, number)
        for victim, count in roles(transport).items()
        for number in range(count)
        for how in ("killed", "frozen", "told to end")
        # Of those that are alike it is enough to kill each.
        if how == "killed" or number == 0
    ]
    cards += [(POSTGRES, how, 0) for how in ("killed", "frozen", "one process")]
    cards += [(EXCHANGE, how, 0) for how in ("cut_feed", "new_session", "close")]
    while True:
        chance.shuffle(cards)
        yield from cards


def fault(system: System, card: tuple[str, str, int], chance: random.Random) -> Fault:
    """What is dealt, of the processes that there are now."""
    victim, how, number = card
    if victim == EXCHANGE:
        return exchange_fault(system, how)
    pids = postgres_processes(system) if victim == POSTGRES else system.installation.pids(victim)
    if len(pids) <= number:
        return Fault(f"{victim} #{number} is away already", lambda: None)
    if victim == POSTGRES:
        return database_fault(pids, how, chance)
    name = f"{victim} #{number}" if len(pids) > 1 else victim
    if how == "frozen":
        seconds = round(chance.uniform(1.0, LONGEST_FREEZE_S), 1)
        return Fault(f"{name} is frozen for {seconds} s", lambda: freeze([pids[number]], seconds))
    sent = signal.SIGKILL if how == "killed" else signal.SIGTERM
    return Fault(f"{name} is {how}", lambda: send(pids[number], sent))


def database_fault(pids: list[int], how: str, chance: random.Random) -> Fault:
    """PostgreSQL as a whole is killed or frozen, or one of its processes is killed."""
    if how == "frozen":
        return Fault("PostgreSQL is frozen for 3 s", lambda: freeze(pids, 3.0))
    if how == "killed":
        return Fault("PostgreSQL is killed", lambda: send(pids[0], signal.SIGKILL))
    victim = chance.choice(pids[1:] or pids)
    return Fault("one process of PostgreSQL is killed", lambda: send(victim, signal.SIGKILL))


def exchange_fault(system: System, wish: str) -> Fault:
    """Its feed is cut, its session begins anew, or it is closed for a while."""
    if wish != "close":
        return Fault(f"the exchange: {wish}", lambda: tell(system, {wish: True}))

    def close_for_a_while() -> None:
        tell(system, {"close": True})
        time.sleep(3.0)
        tell(system, {"open": True})

    return Fault("the exchange is closed for 3 s", close_for_a_while)


def missing_roles(system: System) -> list[str]:
    """Of those that have to be there, which are not, or not all of them."""
    commands = list(system.installation.processes().values())
    wanted = roles(system.transport) | {DATABASE: 1}
    return [name for name, count in wanted.items() if sum(name in command for command in commands) < count]


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
