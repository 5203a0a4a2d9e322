"""The faults inflicted on the system. A fault is over when its function returns; its effects may last longer."""

import json
import random
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil
import psycopg

from chaos.disk import fill_for
from chaos.guests import GUEST, join_for_a_while
from chaos.load import ACCOUNTS
from testsupport.system import INSTRUMENTS, System
from testsupport.waiting import wait_until

# Processes by a part of their command lines, and how many there are of each: on both transports, and on each.
COMMON = {
    "granian": 3,
    "run_sweep": 1,
    "run_update_consumer": 1,
    "run_notification_service": 1,
    "run_exchange_simulator": 1,
}
OF_TRANSPORT = {
    # The parent and its guard, two workers, the process that fetches tasks and the one that stores results.
    "django_q": {"qcluster": 6},
    "kafka": {"run_exchange_consumer": 2, "run_update_recorder": 2, "run_outbox_relay": 1, "kafka.Kafka": 1},
}
DATABASE = "postgres -D"
POSTGRES, EXCHANGE, GUEST_WORKER, TRADING, DISK = "PostgreSQL", "the exchange", "one more worker", "trading", "the disk"
# What the simulated exchange does wrong throughout a trial; its other faults come one at a time.
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
    "report_lie_rate": 0.02,
    "look_up_lie_rate": 0.02,
    "clock_ahead": 0.0,
}
RIGHT = dict.fromkeys(WRONG, 0.0)
MAX_FREEZE_S = 8.0
READ_ONLY, READ_ONLY_S = "read-only", 4.0
FULL_S = 4.0
HOUR_S = 3600
# What the exchange is told to do, for how many seconds, what it is told afterwards, and the name of the fault.
FOR_A_WHILE: dict[str, tuple[dict[str, object], float, dict[str, object], str]] = {
    "close": ({"close": True}, 3.0, {"open": True}, "it is closed"),
    "silent": ({"delay": HOUR_S}, 8.0, {"delay": WRONG["delay"]}, "its feed is silent"),
    "clock_ahead": ({"clock_ahead": HOUR_S}, 5.0, {"clock_ahead": 0}, "its clock is an hour ahead"),
}
CLOCKS = {"an hour ahead": HOUR_S, "an hour behind": -HOUR_S}
SCOPES = ("everything", "an account", "an instrument")
HEARD_S = 30.0


@dataclass(frozen=True)
class Fault:
    """`name` says what happens to which process."""

    name: str
    inflict: Callable[[], None]


def control(system: System, wishes: dict[str, object]) -> None:
    """Change options of the simulated exchange. Raises OSError while it is unavailable; callers that must succeed retry."""
    ask_exchange(system, "/control", json.dumps(wishes).encode())


def ask_exchange(system: System, path: str, body: bytes | None = None) -> dict[str, object]:
    url = f"http://127.0.0.1:{system.installation.environment['EXCHANGE_PORT']}{path}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http it is
        document: dict[str, object] = json.load(answer)
        return document


def roles(transport: str) -> dict[str, int]:
    return COMMON | OF_TRANSPORT[transport]


def dealt(transport: str, chance: random.Random) -> Iterator[tuple[str, str, int]]:
    """Yield victim, what is done to it, and the number of its process: every combination once before any is repeated."""
    cards = [
        (victim, how, number)
        for victim, count in roles(transport).items()
        for number in range(count)
        for how in ("killed", "frozen", "told to end")
        # Of several alike, kill each but freeze and end only the first.
        if how == "killed" or number == 0
    ]
    cards += [(POSTGRES, how, 0) for how in ("killed", "frozen", "one process", READ_ONLY)]
    cards += [(EXCHANGE, how, 0) for how in ("cut_feed", "new_session", *FOR_A_WHILE)]
    cards += [(GUEST_WORKER, how, 0) for how in CLOCKS]
    cards += [(TRADING, how, 0) for how in SCOPES]
    cards += [(DISK, "full", 0)]
    while True:
        chance.shuffle(cards)
        yield from cards


def fault(system: System, card: tuple[str, str, int], chance: random.Random) -> Fault:
    """The fault for a card, applied to the processes that run now."""
    victim, how, number = card
    if victim == EXCHANGE:
        return exchange_fault(system, how)
    if victim == GUEST_WORKER:
        return guest_fault(system, how, chance)
    if victim == TRADING:
        return halt_fault(system, how, chance)
    if victim == DISK:
        return disk_fault(system)
    pids = postgres_processes(system) if victim == POSTGRES else pids_of(system, victim)
    if len(pids) <= number:
        return Fault(f"{victim} #{number} is not running anyway", lambda: None)
    if how == READ_ONLY:
        return Fault(f"PostgreSQL is read-only for {READ_ONLY_S:g} s", lambda: take_no_changes(system))
    if victim == POSTGRES:
        return database_fault(pids, how, chance)
    name = f"{victim} #{number}" if len(pids) > 1 else victim
    if how == "frozen":
        seconds = round(chance.uniform(1.0, MAX_FREEZE_S), 1)
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


def take_no_changes(system: System) -> None:
    """Make PostgreSQL act like a server taken out of service: it answers but rejects every change."""
    administer(system, "ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        time.sleep(READ_ONLY_S)
    finally:
        administer(system, "ALTER SYSTEM RESET default_transaction_read_only")


def administer(system: System, statement: str) -> None:
    """Run the statement even while the database is read-only, and make the server reload its settings."""
    with psycopg.connect(system.database_url, autocommit=True) as database:
        database.execute("SET default_transaction_read_only = off")
        database.execute(statement)
        database.execute("SELECT pg_reload_conf()")


def exchange_fault(system: System, wish: str) -> Fault:
    """Cut the exchange's feed, start a new session, or close it, silence it or put its clock ahead for a while."""
    if wish == "new_session":
        return Fault("the exchange: new_session", lambda: begin_session(system))
    if wish not in FOR_A_WHILE:
        return Fault(f"the exchange: {wish}", lambda: tell(system, {wish: True}))
    begin, seconds, end, name = FOR_A_WHILE[wish]

    def for_a_while() -> None:
        tell(system, begin)
        time.sleep(seconds)
        tell(system, end)

    return Fault(f"the exchange: {name} for {seconds:g} s", for_a_while)


def begin_session(system: System) -> None:
    """Start a new session, which loses reports not read yet. Lies must not be among them, since they could not be flagged."""
    with suppress(OSError):
        control(system, {"report_lie_rate": 0.0})
        newest = ask_exchange(system, "/health")
        wait_until(lambda: has_taken(system, newest), within_s=HEARD_S, what="the feed's reports are read")
        control(system, {"new_session": True})


def has_taken(system: System, newest: dict[str, object]) -> bool:
    taken = system.query("SELECT session_id, sequence FROM orders_feedposition")
    return any(row["session_id"] == newest["session_id"] and row["sequence"] >= newest["last_sequence"] for row in taken)


def guest_fault(system: System, clock: str, chance: random.Random) -> Fault:
    """One more worker, with a wrong clock."""
    seconds = round(chance.uniform(3.0, 6.0), 1)
    sent = chance.choice([signal.SIGTERM, signal.SIGKILL])
    name = f"one more worker, with its clock {clock}, for {seconds} s"
    return Fault(name, lambda: join_for_a_while(system, CLOCKS[clock], seconds, sent))


def halt_fault(system: System, scope: str, chance: random.Random) -> Fault:
    """Halt trading under load, and resume it after a while."""
    account = chance.choice(sorted(set(ACCOUNTS)))
    names = {"everything": (), "an account": ("--account", account), "an instrument": ("--instrument", INSTRUMENTS[0])}
    words, seconds = names[scope], round(chance.uniform(2.0, 5.0), 1)

    def halt() -> None:
        # The command returns once the halt is confirmed.
        system.manage("halt_trading", "--reason", "chaos", *words)
        time.sleep(seconds)
        system.manage("resume_trading", "--reason", "chaos", *words)

    name = f"trading of {words[1]}" if words else "all trading"
    return Fault(f"{name} is halted for {seconds} s", halt)


def disk_fault(system: System) -> Fault:
    data_dir = system.installation.data_dir
    if not data_dir.is_mount():
        return Fault("the disk is shared, so it is not filled", lambda: None)
    return Fault(f"the disk is full for {FULL_S:g} s", lambda: fill_for(data_dir, FULL_S))


def own_processes(system: System) -> dict[int, str]:
    """The installation's processes by process id, without guests, whose command lines look like those of workers."""
    return {pid: command for pid, command in system.installation.processes().items() if GUEST not in command}


def pids_of(system: System, victim: str) -> list[int]:
    """Process ids with `victim` in their command line, oldest first."""
    return [pid for pid, command in own_processes(system).items() if victim in command]


def missing_roles(system: System) -> list[str]:
    """The roles of which not all processes run."""
    commands = list(own_processes(system).values())
    wanted = roles(system.transport) | {DATABASE: 1}
    return [name for name, count in wanted.items() if sum(name in command for command in commands) < count]


def tell(system: System, wishes: dict[str, object]) -> None:
    # A simulator that was just killed restarts open and in its old session.
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
