"""The processes that `manage.py up` keeps running, and the supervisor's configuration for them."""

import os
import shlex
import sys
from dataclasses import dataclass

from django.conf import settings

from infrastructure.addresses import numeric_host

_MANAGE = (sys.executable, "manage.py")
# For granian's first process, which does not load Django; its workers log like all other processes.
_GRANIAN_LOGS = ("--log-config", "infrastructure/granian-json-logs.json") if settings.LOG_JSON else ()
# We stay root on purpose, and supervisord warns about that unless told.
_SUPERVISOR_USER = "user=0\n" if os.geteuid() == 0 else ""
# The options that granian needs wherever it runs: the HTTP version that the other limits apply to; its threads, on which
# infrastructure/body_reads.py relies; the bytes and milliseconds that a request's head may take; the connections of each
# process, idle ones included; and how many more may queue (as many as Linux allows by default). Nearly everywhere a process
# may have at least 4,096 open files.
WEB_LIMITS = (
    f"--http 1 --blocking-threads {settings.WEB_THREADS} --http1-buffer-size 65536 --http1-header-read-timeout 10000"
    " --backpressure 3000 --backlog 4096"
)
# A process that ends sooner waits before the next attempt. A role takes some of these seconds to import everything, and only
# then can it find that it cannot go on.
START_S = 10


@dataclass(frozen=True, slots=True)
class ManagedProcess:
    """One process; it is restarted whenever it ends, or with `runs_once` until it has succeeded.

    Only the process itself gets `stop_signal`, not its children. After `stop_deadline_s` all that still run are killed.
    """

    name: str
    command: tuple[str, ...]
    stop_signal: str = "TERM"
    stop_deadline_s: int = 10
    runs_once: bool = False


def database() -> ManagedProcess | None:
    """PostgreSQL, unless DATABASE_URL names an external server."""
    if not settings.EMBEDDED_POSTGRES:
        return None
    command = (sys.executable, "-m", "devstack.embedded_postgres", str(settings.DATA_DIR))
    # INT is PostgreSQL's fast shutdown; TERM would wait for every client to leave.
    return ManagedProcess("postgres", command, stop_signal="INT")


def kafka() -> ManagedProcess | None:
    """One node of Kafka, unless it is not needed or KAFKA_BOOTSTRAP_SERVERS names external brokers."""
    if not settings.EMBEDDED_KAFKA:
        return None
    command = (sys.executable, "-m", "devstack.embedded_kafka", str(settings.DATA_DIR), str(settings.KAFKA_PORT))
    return ManagedProcess("kafka", command)


def services() -> list[ManagedProcess]:
    """Every other process. They all stop at the same time, and the database after them."""
    found = [
        ManagedProcess("web", _web_command()),
        ManagedProcess("notifications", (*_MANAGE, "run_notification_service")),
    ]
    if settings.EXCHANGE_IS_SIMULATED:
        found.append(ManagedProcess("exchange", (*_MANAGE, "run_exchange_simulator"), stop_deadline_s=5))
    found.append(ManagedProcess("sweep", (*_MANAGE, "run_sweep")))
    found.append(ManagedProcess("updates", (*_MANAGE, "run_update_consumer")))
    return found + (_kafka_roles() if settings.ORDER_TRANSPORT == "kafka" else _django_q_roles())


def _django_q_roles() -> list[ManagedProcess]:
    # The cluster stops cleanly only if just its parent process gets the signal; running placements may take as long as one
    # request to the exchange.
    return [ManagedProcess("workers", (*_MANAGE, "qcluster"), stop_deadline_s=12)]


def _kafka_roles() -> list[ManagedProcess]:
    """The Kafka roles; two of each that may run many times, so that a trial shows how they share the work."""
    roles = [ManagedProcess("relay", (*_MANAGE, "run_outbox_relay"))]
    for number in (1, 2):
        roles.append(ManagedProcess(f"workers-{number}", (*_MANAGE, "run_exchange_consumer"), stop_deadline_s=12))
        roles.append(ManagedProcess(f"recorder-{number}", (*_MANAGE, "run_update_recorder")))
    return [*roles, ManagedProcess("topics", (*_MANAGE, "create_topics", "--wait", "60"), runs_once=True)]


def supervisor_configuration() -> str:
    """The text of supervisord.conf. It has no paths except in commands, since supervisord itself runs in the checkout."""
    programs = services()
    text = (
        f"[supervisord]\nnodaemon=true\n{_SUPERVISOR_USER}logfile=/dev/null\nlogfile_maxbytes=0\nloglevel=warn\nnocleanup=true\n"
    )
    for foundation in (database(), kafka()):
        if foundation is not None:
            text += _program(foundation) + "priority=1\n"
    # A group, since supervisord stops one group after another, the highest priority number first.
    text += f"\n[group:services]\nprograms={','.join(program.name for program in programs)}\npriority=2\n"
    return text + "".join(_program(program) for program in programs)


def _web_command() -> tuple[str, ...]:
    # Requests wait for the database, so there are more threads than processors, and each thread keeps a connection. A single
    # process would use one processor, however many threads it has.
    size = ("--workers", str(settings.WEB_PROCESSES), *WEB_LIMITS.split())
    # A worker that ends is replaced while the others go on; without this option granian itself would end with it.
    # A worker that was only just forked can miss the stop signal, and granian would wait for it for ever.
    ending = ("--respawn-failed-workers", "--workers-kill-timeout", "8")
    address = ("--host", numeric_host(), "--port", str(settings.WEB_PORT))
    # Granian's warnings are only advice on the number of threads.
    logging = ("--log-level", "error", *_GRANIAN_LOGS)
    options = ("--interface", "wsgi", "--no-ws", *size, *ending, *logging, *address)
    return (sys.executable, "-m", "granian", *options, "lemon_market.wsgi:application")


def _program(process: ManagedProcess) -> str:
    return (
        f"\n[program:{process.name}]\n"
        f"command={' '.join(_quoted(word) for word in process.command)}\n"
        f"autorestart={'unexpected' if process.runs_once else 'true'}\n"
        f"startsecs={0 if process.runs_once else START_S}\n"
        "startretries=1000000\n"
        f"stopsignal={process.stop_signal}\n"
        f"stopwaitsecs={process.stop_deadline_s}\n"
        "killasgroup=true\n"
        "stdout_logfile=NONE\n"
        "stderr_logfile=NONE\n"
    )


def _quoted(word: str) -> str:
    """Quote a word for supervisord, which treats ` #` and ` ;` as comments and `%` as a name, and then splits like a shell."""
    quoted = shlex.quote(word)
    for character in "#;":
        quoted = quoted.replace(character, f"""'"{character}"'""")
    return quoted.replace("%", "%%")
