import os
import shlex
import signal
from types import SimpleNamespace

import pytest

from lemon_market import processes
from lemon_market.process_end import STOP_SIGNALS
from lemon_market.processes import ManagedProcess
from lemon_market.supervision import LONGEST_RESTART_DELAY_S, PatientSupervisor, TerminalOptions


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

    assert process.backoff < LONGEST_RESTART_DELAY_S
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
