"""supervisord, adapted to a program that a person starts in a terminal.

    python -m devstack.supervision DATA_DIR/supervisord.conf

`manage.py up` turns into this once the database is prepared.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from supervisor.loggers import LogRecord
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions
from supervisor.supervisord import Supervisor

from devstack.embedded_postgres import remove_copied_programs
from devstack.patient_process import PatientConfig
from infrastructure.process_signals import STOP_SIGNALS, die_with_parent

# supervisord waits one second longer after each failed start, without limit. After an hour without a database, a process
# should not take another minute to notice that the database is back.
MAX_RESTART_DELAY_S = 5
# Set by `up` when lines are to be JSON objects.
LOG_JSON = "LEMON_MARKET_SUPERVISOR_LOG_JSON"


class TerminalOptions(ServerOptions):
    """What differs from supervisord as a system service."""

    def __init__(self) -> None:
        super().__init__()
        self._supervisor = os.getpid()

    def processes_from_section(self, parser: Any, section: str, group_name: str, klass: Any = None) -> list[PatientConfig]:
        """Use our own kind of program instead of supervisord's, the only `klass` that our configuration asks for."""
        return list(super().processes_from_section(parser, section, group_name, PatientConfig))

    def setsignals(self) -> None:
        """Stop everything when the terminal is closed; supervisord would restart everything on SIGHUP.

        `up` has blocked the signals until now, since an exit on the way would leave a stack trace in the terminal.
        """
        super().setsignals()
        signal.signal(signal.SIGHUP, self._leave_terminal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _leave_terminal(self, number: int, frame: FrameType | None) -> None:
        # The terminal is gone: from here on a log line would raise an error, and end us before all children have stopped.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        self.signal_receiver.receive(signal.SIGTERM, frame)

    def make_logger(self) -> None:
        super().make_logger()
        if os.environ.get(LOG_JSON) is not None:
            for handler in self.logger.handlers:
                if handler.stream is sys.stdout:
                    handler.emit = emit_as_json

    def write_pidfile(self) -> None:
        """Write none: nothing controls this process from outside."""

    def fork(self) -> int:
        """Make children end with us, even if we are killed, and obey stop signals even before `exec`.

        Until `exec` a child has our handlers, which would only note a signal in memory that is gone a moment later.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        pid = int(super().fork())
        if pid == 0:
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            die_with_parent(signal.SIGTERM, self._supervisor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return pid

    def make_pipes(self, stderr: bool = True) -> dict[str, int | None]:
        """Give each child our terminal instead of pipes, so that no output is lost or delayed when we die or are busy."""
        return {
            "stdin": None,
            "child_stdin": os.open(os.devnull, os.O_RDONLY),
            "stdout": None,
            "child_stdout": os.dup(1),
            "stderr": None,
            "child_stderr": os.dup(2) if stderr else None,
        }

    def waitpid(self) -> tuple[int | None, int | None]:
        """Kill the orphans of a dead child: they would keep its port, or do the same work as its successor."""
        pid, status = super().waitpid()
        if pid:
            with suppress(ProcessLookupError):
                # supervisord makes each child the leader of a process group.
                os.killpg(pid, signal.SIGKILL)
        return pid, status


class PatientSupervisor(Supervisor):
    """Never gives up on a process, and never waits for long."""

    def tick(self, now: Any = None) -> None:
        super().tick(now)
        for group in self.process_groups.values():
            for process in group.processes.values():
                # It next waits one second more than this; it would give up above `startretries`.
                process.backoff = min(process.backoff, MAX_RESTART_DELAY_S - 1)


def emit_as_json(record: LogRecord) -> None:
    """Write a line in the format of all other processes."""
    known = record.asdict()
    line = {"event": known["message"], "level": known["levelname"].lower(), "logger": "supervisor"}
    sys.stderr.write(json.dumps(line | {"timestamp": datetime.now(UTC).isoformat()}) + "\n")


def main() -> None:
    """Run until told to stop. The working directory is the checkout."""
    configuration = Path(sys.argv[1])
    options = TerminalOptions()
    options.realize(["-c", str(configuration)])
    options.first = True
    options.test = False
    with suppress(ExitNow):
        PatientSupervisor(options).main()
    remove_copied_programs(configuration.parent)


if __name__ == "__main__":
    main()
