import json
import os
import shlex
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from devstack import processes
from devstack.processes import ManagedProcess
from devstack.supervision import LOG_JSON, MAX_RESTART_DELAY_S, PatientSupervisor, TerminalOptions
from infrastructure.process_signals import STOP_SIGNALS
from testsupport.installation import CHECKOUT
from testsupport.waiting import wait_until

# The real one, but it never waits for longer than a second, and is told when a program counts as running.
SUPERVISOR = """
import sys
from devstack import patient_process
from devstack import supervision
supervision.MAX_RESTART_DELAY_S = 1
patient_process.RUNS_S = float(sys.argv[2])
supervision.main()
"""


@pytest.fixture
def read(tmp_path):
    """supervisord's own reading of our configuration, as it is when called."""

    def read():
        (tmp_path / "supervisord.conf").write_text(processes.supervisor_configuration())
        options = TerminalOptions()
        options.realize(["-c", str(tmp_path / "supervisord.conf")])
        return options

    return read


@pytest.mark.parametrize("word", ["it's a 100% path; #1", 'say "hello" ;', "%(ENV_PATH)s", "# all", "a\\b $HOME `id`"])
def test_every_word_of_a_command_arrives_as_it_was(read, monkeypatch, word):
    command = ("/bin/echo", word)
    monkeypatch.setattr(processes, "services", lambda: [ManagedProcess("one", command)])

    (group,) = read().process_group_configs

    assert tuple(shlex.split(group.process_configs[0].command)) == command


def test_the_database_starts_first_and_stops_last(read, settings):
    settings.EMBEDDED_POSTGRES = True

    first, last = sorted(read().process_group_configs)

    assert [program.name for program in first.process_configs] == ["postgres"]
    assert {program.name for program in last.process_configs} >= {"web", "workers", "sweep"}


def test_nothing_is_ever_given_up_or_waits_for_long(read):
    process = SimpleNamespace(backoff=100)
    options = read()
    supervisor = PatientSupervisor(options)
    supervisor.process_groups = {"services": SimpleNamespace(processes={"web": process})}

    supervisor.tick()

    assert process.backoff < MAX_RESTART_DELAY_S
    assert all(p.startretries > 1000 for group in options.process_group_configs for p in group.process_configs)


def test_a_closed_terminal_means_stop(read, monkeypatch):
    options = read()
    handled = [*STOP_SIGNALS, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR2]
    before = {number: signal.getsignal(number) for number in handled}
    redirected = []
    monkeypatch.setattr(os, "dup2", lambda _, number: redirected.append(number))
    try:
        options.setsignals()
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

    assert options.get_signal() == signal.SIGTERM
    assert redirected == [1, 2]


class Supervised:
    """A real supervisor with one program, a shell script that runs in a directory of its own, and what both have written."""

    def __init__(self, directory, environment, runs_s):
        self.directory = directory
        self.output = directory / "output"
        command = [sys.executable, "-c", SUPERVISOR, str(directory / "supervisord.conf"), str(runs_s)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def lines(self):
        return self.output.read_text().splitlines()

    def attempts(self):
        return len((self.directory / "attempts").read_text().splitlines()) if (self.directory / "attempts").exists() else 0

    def await_attempts(self, count):
        wait_until(lambda: self.attempts() >= count, within_s=50, what=f"{count} attempts")

    def await_line(self, text):
        wait_until(lambda: any(text in line for line in self.lines()), within_s=30, what=f"{text!r} in {self.output}")


@pytest.fixture
def supervise(tmp_path, monkeypatch):
    """Starts one with a script, which counts its attempts."""
    started = []
    monkeypatch.setattr(processes, "database", lambda: None)
    monkeypatch.setattr(processes, "kafka", lambda: None)

    def supervise(script, *, program="/bin/sh", runs_once=False, start_s=processes.START_S, runs_s=5, **environment):
        monkeypatch.setattr(processes, "START_S", start_s)
        command = (program, "-c", f'cd "{tmp_path}"; echo >> attempts; {script}')
        monkeypatch.setattr(processes, "services", lambda: [ManagedProcess("one", command, runs_once=runs_once)])
        (tmp_path / "supervisord.conf").write_text(processes.supervisor_configuration())
        started.append(Supervised(tmp_path, {**os.environ, **environment}, runs_s))
        return started[0]

    yield supervise
    for supervised in started:
        supervised.process.terminate()
        assert supervised.process.wait(20) == 0


TOLD = 'one has failed 5 times in a row (exit status 3) and is tried again until it runs; it says: "no luck: really"'
FAILING = "echo first >&2; echo no luck: really >&2; echo; exit 3"


@pytest.mark.parametrize("options", [{}, {"start_s": 1}, {"runs_once": True}], ids=["at once", "after its start", "runs once"])
def test_a_program_that_always_fails_is_told_of_in_one_line_and_no_more(supervise, options):
    supervised = supervise(f"sleep {options.get('start_s', 0)}; {FAILING}", **options)

    supervised.await_attempts(7)

    lines = supervised.lines()
    assert [TOLD in line for line in lines].count(True) == 1
    assert lines.count("no luck: really") == 4
    assert TOLD in [line for line in lines if line][-1], "nothing is said after it"


def test_what_is_told_of_failures_is_a_json_line_like_others(supervise):
    supervised = supervise(FAILING, **{LOG_JSON: "true"})

    supervised.await_attempts(6)

    told = [json.loads(line) for line in supervised.lines() if line.startswith("{")]
    assert [line["logger"] for line in told if line["event"] == TOLD] == ["supervisor"]


def test_a_program_that_recovers_is_told_of_and_heard_again(supervise):
    supervised = supervise("if [ ! -e mended ]; then echo no luck >&2; exit 1; fi; echo begins; tail -f said; echo ends")
    (supervised.directory / "said").touch()
    supervised.await_line("failed 5 times in a row")

    (supervised.directory / "mended").touch()
    supervised.await_line("one runs again")
    with (supervised.directory / "said").open("a") as said:
        said.write("works on\n")

    supervised.await_line("works on")
    assert "begins" in supervised.lines(), "what it wrote before it counted as running"
    assert sum("one runs again" in line for line in supervised.lines()) == 1


def test_a_program_that_ends_after_it_has_run_for_long_has_not_failed(supervise):
    supervised = supervise("sleep 2.1; exit 3", start_s=1, runs_s=1)

    supervised.await_attempts(7)

    assert not any("in a row" in line for line in supervised.lines())


def test_a_program_that_cannot_be_started_at_all_is_told_of(supervise):
    supervised = supervise("", program="/nonexistent/program")

    supervised.await_line("one has failed 5 times in a row (can't find command '/nonexistent/program')")
