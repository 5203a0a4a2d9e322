"""The processes that `manage.py up` keeps running, and the supervisor's configuration made from them."""

import os
import shlex
import sys
from dataclasses import dataclass

from django.conf import settings

from infrastructure.addresses import numeric_host

_MANAGE = (sys.executable, "manage.py")
# For granian's first process, which knows nothing of Django; those that serve write their lines as all others do.
_GRANIAN_LOGS = ("--log-config", "infrastructure/granian-json-logs.json") if settings.LOG_JSON else ()
# Staying root is on purpose, and supervisord warns of it unless told so.
_SUPERVISOR_USER = "user=0\n" if os.geteuid() == 0 else ""
# What granian needs to be told wherever it runs: the HTTP that the other limits are for, its threads, on which
# infrastructure/body_reads.py counts, the bytes and milliseconds that a request's head may take, the connections that each
# process has, silent ones included, and how many wait for it beyond (as many as Linux lets by default). A process may have at
# least 4,096 files nearly everywhere.
WEB_LIMITS = (
    f"--http 1 --blocking-threads {settings.WEB_THREADS} --http1-buffer-size 65536 --http1-header-read-timeout 10000"
    " --backpressure 3000 --backlog 4096"
)
# Who ends earlier waits before the next attempt. A role needs some of them to import everything, and can only then find that it
# cannot go on.
START_S = 10


@dataclass(frozen=True, slots=True)
class ManagedProcess:
    """One process; it is started again whenever it ends, or with `runs_once` until it has ended well.

    It gets `stop_signal` alone, not its children, and has `stop_deadline_s` before everything that is left is killed.
    """

    name: str
    command: tuple[str, ...]
    stop_signal: str = "TERM"
    stop_deadline_s: int = 10
    runs_once: bool = False


def database() -> ManagedProcess | None:
    """PostgreSQL, unless DATABASE_URL names one that somebody else runs."""
    if not settings.EMBEDDED_POSTGRES:
        return None
    command = (sys.executable, "-m", "devstack.embedded_postgres", str(settings.DATA_DIR))
    # INT is PostgreSQL's fast shutdown; TERM would wait for every client to leave.
    return ManagedProcess("postgres", command, stop_signal="INT")


def kafka() -> ManagedProcess | None:
    """One node of Kafka, unless nobody needs it or KAFKA_BOOTSTRAP_SERVERS names others."""
    if not settings.EMBEDDED_KAFKA:
        return None
    command = (sys.executable, "-m", "devstack.embedded_kafka", str(settings.DATA_DIR), str(settings.KAFKA_PORT))
    return ManagedProcess("kafka", command)


def services() -> list[ManagedProcess]:
    """Everything else. They all stop at the same time, and the database after them."""
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
    # The cluster stops cleanly only if its parent alone gets the signal; running placements may take as long as one send.
    return [ManagedProcess("workers", (*_MANAGE, "qcluster"), stop_deadline_s=12)]


def _kafka_roles() -> list[ManagedProcess]:
    """Two of those of which there may be many, so that a trial shows how they share the work."""
    roles = [ManagedProcess("relay", (*_MANAGE, "run_outbox_relay"))]
    for number in (1, 2):
        roles.append(ManagedProcess(f"workers-{number}", (*_MANAGE, "run_exchange_consumer"), stop_deadline_s=12))
        roles.append(ManagedProcess(f"recorder-{number}", (*_MANAGE, "run_update_recorder")))
    return [*roles, ManagedProcess("topics", (*_MANAGE, "create_topics", "--wait", "60"), runs_once=True)]


def supervisor_configuration() -> str:
    """The text of supervisord.conf. No path stands in it outside of a command: supervisord itself runs in the checkout."""
    programs = services()
    text = (
        f"[supervisord]\nnodaemon=true\n{_SUPERVISOR_USER}logfile=/dev/null\nlogfile_maxbytes=0\nloglevel=warn\nnocleanup=true\n"
    )
    for foundation in (database(), kafka()):
        if foundation is not None:
            text += _program(foundation) + "priority=1\n"
    # A group, since supervisord stops one group after the other, last priority first.
    text += f"\n[group:services]\nprograms={','.join(program.name for program in programs)}\npriority=2\n"
    return text + "".join(_program(program) for program in programs)


def _web_command() -> tuple[str, ...]:
    # Its warnings are advice on the number of threads. Requests wait for the database, so there are more of them than
    # processors; each keeps a connection. One process would use one processor, whatever its threads.
    size = ("--workers", str(settings.WEB_PROCESSES), *WEB_LIMITS.split())
    # One that ends is replaced while the others go on: without this, granian itself ends with it.
    # One that was only just forked can miss the signal to stop, and would be waited for for ever.
    ending = ("--respawn-failed-workers", "--workers-kill-timeout", "8")
    address = ("--host", numeric_host(), "--port", str(settings.WEB_PORT))
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
    """A word for supervisord, which takes ` #` and ` ;` for comments and `%` for a name, and then splits like a shell."""
    quoted = shlex.quote(word)
    for character in "#;":
        quoted = quoted.replace(character, f"""'"{character}"'""")
    return quoted.replace("%", "%%")
