import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest

from devstack import embedded_postgres, local_install, postgres_programs
from devstack.embedded_postgres import Server
from devstack.postgres_programs import PostgresError
from testsupport.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which has to change to another user")
as_ordinary_user = pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user, who runs the server as himself")


@pytest.fixture
def data_dir(tmp_path):
    """A place that only we can enter, with every character in its name that a careless program stumbles over."""
    private = tmp_path / 'it\'s a 100% "private" place; #1'
    private.mkdir(mode=0o700)
    return private / "data"


@pytest.fixture
def start(data_dir):
    """Starts a server, and stops all at the end of the test."""
    servers = []

    def start(**options):
        servers.append(Server(data_dir, **options))
        return servers[-1]

    local_install.load(data_dir)
    yield start
    for server in servers:
        server.stop()


def connect(data_dir, **changes):
    return psycopg.connect(local_install.load(data_dir).postgres_url, autocommit=True, **changes)


def ask(data_dir, question):
    with connect(data_dir) as connection:
        return connection.execute(question).fetchone()


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def modes(path):
    return {parent: stat.S_IMODE(parent.stat().st_mode) for parent in path.parents}


def test_it_is_durable_and_asks_for_the_password(data_dir, start):
    start()

    assert ask(data_dir, "SELECT current_database(), current_setting('fsync'), current_setting('synchronous_commit')") == (
        "lemon_market",
        "on",
        "on",
    )
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(data_dir, password="wrong")


def test_it_listens_on_the_loopback_address_and_nowhere_else(data_dir, start):
    server = psutil.Process(start(expendable=True).pid)

    listening = [
        c.laddr for c in server.net_connections(kind="all") if c.status == psutil.CONN_LISTEN or isinstance(c.laddr, str)
    ]

    assert listening == [("127.0.0.1", local_install.load(data_dir).postgres_port)]


def test_text_is_compared_in_the_same_way_on_every_machine(data_dir, start):
    start(expendable=True)

    assert ask(data_dir, "SELECT upper('é'), 'a' < 'B', 'é' ~ '^[[:alpha:]]$'") == ("É", False, True)


@as_root
def test_root_hands_it_to_nobody_and_opens_no_directory(data_dir, start):
    before = modes(data_dir)

    server = psutil.Process(start(expendable=True).pid)

    assert server.username() == "nobody"
    assert modes(data_dir) == before


@as_ordinary_user
def test_an_ordinary_user_runs_it_as_himself(data_dir, start):
    server = psutil.Process(start(expendable=True).pid)

    assert server.uids().real == os.getuid()


@pytest.fixture
def private_programs(tmp_path, monkeypatch):
    """The wheel's programs as they are below a directory that only root can enter."""
    package = postgres_programs.installed_programs().parents[1]
    private = tmp_path / "private"
    shutil.copytree(package, private / package.name)
    for libraries in package.parent.glob(f"{package.name}.*libs"):
        shutil.copytree(libraries, private / libraries.name)
    private.chmod(0o700)
    monkeypatch.setattr(postgres_programs, "installed_programs", lambda: private / package.name / "pginstall" / "bin")


@as_root
@pytest.mark.usefixtures("private_programs")
def test_programs_that_nobody_can_reach_are_copied_until_the_server_stops(tmp_path):
    link = tmp_path / "programs"
    nobody = postgres_programs.other_account(tmp_path)

    copied = postgres_programs.reachable_programs(link, nobody)

    assert not copied.is_relative_to(tmp_path)
    assert postgres_programs.run_as(nobody, [str(copied / "postgres"), "--version"], cwd=Path("/")).returncode == 0
    assert postgres_programs.reachable_programs(link, nobody) == copied, "the copy is found again"
    postgres_programs.remove_copy(link)
    assert not copied.exists()
    assert not link.is_symlink()


@as_root
@pytest.mark.usefixtures("private_programs")
def test_copies_of_killed_installations_do_not_pile_up(tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    forgotten, used, foreign = (place / f"lemon-market-postgres-{name}" for name in ("forgotten", "used", "foreign"))
    for directory in (forgotten, used, foreign):
        directory.mkdir()
    os.chown(foreign, 1, 1)
    postgres_programs._hold(used)

    postgres_programs.reachable_programs(tmp_path / "programs", postgres_programs.other_account(tmp_path))
    postgres_programs.remove_copy(tmp_path / "programs")

    assert sorted(place.iterdir()) == [foreign, used]


def test_a_link_to_anything_but_our_copy_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "programs").symlink_to(tmp_path / "precious")

    postgres_programs.remove_copy(tmp_path / "programs")

    assert (tmp_path / "precious").exists()


def test_what_was_committed_survives_a_killed_server(data_dir, start):
    server = start()
    with connect(data_dir) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    os.kill(server.pid, signal.SIGKILL)

    start()

    assert ask(data_dir, "SELECT number FROM kept") == (7,)


def test_a_process_id_left_behind_that_now_belongs_to_a_stranger_does_no_harm(data_dir, start):
    start(expendable=False).stop()
    (data_dir / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{data_dir}\n")

    start()

    assert ask(data_dir, "SELECT 1") == (1,)


def test_it_stops_when_its_parent_is_killed(data_dir):
    program = (
        "import pathlib, signal, sys; from devstack.embedded_postgres import Server;"
        "print(Server(pathlib.Path(sys.argv[1])).pid, flush=True); signal.pause()"
    )
    local_install.load(data_dir)
    command = [sys.executable, "-c", program, str(data_dir)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()

    wait_until(lambda: not is_running(pid), within_s=10, what="the server stops")


def test_an_interrupted_first_start_leaves_nothing_behind(data_dir, start):
    half_made = data_dir / "postgres" / "data.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")

    start(expendable=True)

    assert not half_made.exists()


def test_a_database_of_another_release_is_refused_in_one_line(data_dir, start):
    start(expendable=True).stop()
    (data_dir / "postgres" / "data" / "PG_VERSION").write_text("9\n")

    with pytest.raises(PostgresError, match=r"was made by PostgreSQL 9 and this is PostgreSQL \d+") as refusal:
        start(expendable=True)

    assert "\n" not in str(refusal.value)


def test_two_servers_never_share_a_directory(data_dir, start, monkeypatch):
    start(expendable=True)
    monkeypatch.setattr(embedded_postgres, "LOCK_DEADLINE_S", 0)

    with pytest.raises(PostgresError, match="another PostgreSQL is using"):
        embedded_postgres._lock_until_exit(data_dir / "postgres")
