"""A supervised process that may fail again and again: this is reported once, and its output does not fill the terminal."""

import os
import time
from contextlib import suppress
from typing import Any

from supervisor.datatypes import RestartUnconditionally
from supervisor.dispatchers import PDispatcher
from supervisor.loggers import LevelsByName
from supervisor.options import ProcessConfig, decode_wait_status
from supervisor.process import Subprocess
from supervisor.states import ProcessStates

# How many failures in a row are reported, in one line; nothing more is logged until the process runs.
REPORT_AT = 5
# A process that has run for this long works. On an overloaded machine it can take 20 s to find that something is missing.
RUNS_S = 30
# How many bytes to keep of a failing process's output, and how many characters to quote of its last line.
MAX_HELD = 64 * 1024
MAX_QUOTE = 300


class HeldOutput(PDispatcher):
    """The output of a process: held back while it may still fail, and passed on once it runs."""

    def __init__(self, process: "PatientProcess", fd: int) -> None:
        super().__init__(process, "output", fd)
        self._held = b""

    def readable(self) -> bool:
        """Whether there may be more to read."""
        return not self.closed

    def writable(self) -> bool:
        """Never: this is an output."""
        return False

    def handle_read_event(self) -> None:
        """Read the new output."""
        written = self.process.config.options.readfd(self.fd)
        if not written:
            self.close()
        elif self.process.failures:
            self._held = (self._held + written)[-MAX_HELD:]
        else:
            _write_to_terminal(written)

    def release(self) -> None:
        """Pass on the output held back so far."""
        _write_to_terminal(self._held)
        self._held = b""

    def last_line(self) -> str:
        """The last line that is not empty, if there is one."""
        lines = [line.strip() for line in self._held.decode(errors="replace").splitlines()]
        return next((line[:MAX_QUOTE] for line in reversed(lines) if line), "")


class PatientProcess(Subprocess):
    """Counts its failures in a row.

    It fails when it ends with an error, or before it has run for `startsecs`. It counts as running again after RUNS_S or, if it
    only has to run once, when it ends without an error.
    """

    def __init__(self, config: "PatientConfig") -> None:
        super().__init__(config)
        self.failures = 0
        self._how_it_failed = ""
        self._runs_once = config.autorestart is not RestartUnconditionally

    def finish(self, pid: int, sts: int) -> None:
        """Note that it has ended."""
        self._how_it_failed = decode_wait_status(sts)[1]
        logger = self.config.options.logger
        level = logger.level
        if self.failures >= REPORT_AT - 1:
            # supervisord would warn each time a process ends. Our own lines ignore the level.
            logger.level = LevelsByName.ERRO
        super().finish(pid, sts)
        logger.level = level

    def record_spawnerr(self, msg: str) -> None:
        """Note that it could not even be started."""
        self._how_it_failed = msg
        super().record_spawnerr(msg)

    def change_state(self, new_state: int, expected: bool = True) -> None:
        """Count the failure or the success that the new state stands for."""
        super().change_state(new_state, expected)
        if new_state == ProcessStates.BACKOFF or (new_state == ProcessStates.EXITED and not expected):
            self._count_failure()
        elif new_state == ProcessStates.EXITED and self._runs_once:
            self._forget_failures("has succeeded")

    def transition(self) -> None:
        """Do what is due."""
        super().transition()
        if self.failures and self.pid and not self._runs_once and time.time() - self.laststart > RUNS_S:
            self._forget_failures("runs again")

    def _count_failure(self) -> None:
        self.failures += 1
        if self.failures == REPORT_AT:
            said = "".join(output.last_line() for output in self.dispatchers.values())
            quoted = f'it says: "{said}"' if said else "it says nothing"
            self._tell(
                f"has failed {REPORT_AT} times in a row ({self._how_it_failed}) and is tried again until it runs; {quoted}"
            )

    def _forget_failures(self, what: str) -> None:
        if self.failures >= REPORT_AT:
            self._tell(what)
        self.failures = 0
        for output in self.dispatchers.values():
            output.release()

    def _tell(self, what: str) -> None:
        line = f"{self.config.name} {what}"
        self.config.options.logger.log(LevelsByName.WARN, line)


class PatientConfig(ProcessConfig):
    """Makes processes of this kind, and decides where their output goes."""

    def make_process(self, group: Any = None) -> PatientProcess:
        """One process in `group`."""
        process = PatientProcess(self)
        process.group = group
        return process

    def make_dispatchers(self, proc: PatientProcess) -> tuple[dict[int, HeldOutput], dict[str, int | None]]:
        """Give it our terminal, unless its next failure will be reported or was reported before.

        It then stays on a pipe for as long as it lives, since a running process cannot be given the terminal.
        """
        pipes = self.options.make_pipes()
        if proc.failures < REPORT_AT - 1:
            return {}, pipes
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.dup2(writing, pipes["child_stdout"])
        os.dup2(writing, pipes["child_stderr"])
        os.close(writing)
        return {reading: HeldOutput(proc, reading)}, pipes | {"stdout": reading}


def _write_to_terminal(written: bytes) -> None:
    left = memoryview(written)
    # The terminal may be gone, which must not block the process.
    with suppress(OSError):
        while left:
            left = left[os.write(2, left) :]
