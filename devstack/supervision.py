"""supervisord, made to suit a program that a person starts in a terminal.

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

# supervisord waits one second longer after each failed start, for ever longer. After an hour without a database nobody
# wants to wait another minute for it to notice that the database is back.
MAX_RESTART_DELAY_S = 5
# Set by `up` when lines are to be JSON objects.
LOG_JSON = "LEMON_MARKET_SUPERVISOR_LOG_JSON"


class TerminalOptions(ServerOptions):
    """What differs from supervisord as a system service."""

    def __init__(self) -> None:
        super().__init__()
        self._supervisor = os.getpid()

    def processes_from_section(self, parser: Any, section: str, group_name: str, klass: Any = None) -> list[PatientConfig]:
        """Programs of our own kind instead of supervisord's, which is the only `klass` that our configuration asks for."""
        return list(super().processes_from_section(parser, section, group_name, PatientConfig))

    def setsignals(self) -> None:
        """A closed terminal stops everything; for supervisord SIGHUP means to start everything anew.

        `up` has blocked the signals until here, since an exit on the way would leave a stack trace in the terminal.
        """
        super().setsignals()
        signal.signal(signal.SIGHUP, self._leave_terminal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _leave_terminal(self, number: int, frame: FrameType | None) -> None:
        # It is gone: from here on a line in the log would raise an error, and end us before all others have stopped.
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
        """None is needed: nobody controls this from outside."""

    def fork(self) -> int:
        """Make children that end with us, even if we are killed, and that a signal ends even before they are themselves.

        Until `exec` a child has our handlers, and would take note of a signal in a memory that is gone a moment later.
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
        """Give each child our terminal instead of pipes: then no output is lost or delayed when we die or are busy."""
        return {
            "stdin": None,
            "child_stdin": os.open(os.devnull, os.O_RDONLY),
            "stdout": None,
            "child_stdout": os.dup(1),
            "stderr": None,
            "child_stderr": os.dup(2) if stderr else None,
        }

    def waitpid(self) -> tuple[int | None, int | None]:
        """Kill what a dead child leaves behind: orphans would keep its port, or go on with the work of its successor."""
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
                # One more than this is what it waits next; it gives up above `startretries`.
                process.backoff = min(process.backoff, MAX_RESTART_DELAY_S - 1)


def emit_as_json(record: LogRecord) -> None:
    """One line as all other processes write theirs."""
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
