import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import local_install
from devstack.local_install import LocalInstallError

CHECKOUT = Path(__file__).parents[2]


def test_values_are_made_once_and_kept(tmp_path):
    first = local_install.load(tmp_path / "new" / "data")

    assert local_install.load(tmp_path / "new" / "data") == first
    assert len(first.secret_key) >= 50
    assert len({first.secret_key, first.postgres_password, first.admin_password}) == 3
    assert f":{first.postgres_password}@127.0.0.1:{first.postgres_port}/" in first.postgres_url


def test_nobody_else_can_read_them(tmp_path):
    local_install.load(tmp_path / "data")

    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "local.json").stat().st_mode) == 0o600


def test_processes_that_start_at_once_agree(tmp_path):
    program = "import sys, pathlib; from devstack import local_install; print(local_install.load(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    started = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(8)]

    answers = {process.communicate()[0] for process in started}

    assert len(answers) == 1
    assert "secret_key" in answers.pop()
    assert list((tmp_path / "data").iterdir()) == [tmp_path / "data" / "local.json"]


@pytest.mark.parametrize("content", ["", '{"secret_key": ', "[]", "{}", '{"secret_key": "x", "surprise": 1}', "\0\0\0"])
def test_a_damaged_file_is_reported_and_kept(tmp_path, content):
    (tmp_path / "local.json").write_text(content)

    with pytest.raises(LocalInstallError, match=r"local\.json is damaged"):
        local_install.load(tmp_path)

    assert (tmp_path / "local.json").read_text() == content


def test_a_directory_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(LocalInstallError, match=r"DATA_DIR .*file/data cannot be used"):
        local_install.load(tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_reported(tmp_path):
    tmp_path.chmod(0o500)

    with pytest.raises(LocalInstallError, match="Permission denied"):
        local_install.load(tmp_path)


def test_a_port_that_was_taken_meanwhile_is_replaced_for_good(tmp_path):
    before = local_install.load(tmp_path)
    with socket.create_server(("127.0.0.1", before.postgres_port)):
        after = local_install.load_with_free_port(tmp_path)

    assert after.postgres_port != before.postgres_port
    assert after.postgres_password == before.postgres_password
    assert local_install.load(tmp_path) == after
    assert local_install.load_with_free_port(tmp_path) == after


def test_a_command_reports_it_in_one_line(tmp_path):
    (tmp_path / "local.json").touch()
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "DATABASE_URL": "", "SECRET_KEY": ""}

    answer = subprocess.run(
        [sys.executable, "manage.py", "up"], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 1
    assert answer.stdout == ""
    assert len(answer.stderr.splitlines()) == 1
    assert "local.json is damaged" in answer.stderr


def test_values_that_nobody_stored_are_of_no_use_and_differ_each_time(tmp_path):
    first, second = local_install.read_or_invent(tmp_path), local_install.read_or_invent(tmp_path)
    assert first.secret_key != second.secret_key
    assert first.postgres_port == local_install.UNUSED_PORT
    assert list(tmp_path.iterdir()) == []
    stored = local_install.load(tmp_path)
    assert local_install.read_or_invent(tmp_path) == stored


@pytest.mark.parametrize("transport", ["django_q", "kafka"])
def test_importing_settings_and_asgi_writes_and_starts_nothing(tmp_path, transport):
    program = "import threading, lemon_market.settings, lemon_market.asgi; print([t.name for t in threading.enumerate()])"
    data_dir = tmp_path / "data"
    unset = dict.fromkeys(["DATABASE_URL", "SECRET_KEY", "KAFKA_BOOTSTRAP_SERVERS"], "")
    environment = {**os.environ, **unset, "DATA_DIR": str(data_dir), "ORDER_TRANSPORT": transport}
    command = [sys.executable, "-c", program]

    answer = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)

    assert (answer.stdout, answer.stderr, answer.returncode) == ("['MainThread']\n", "", 0)
    assert not data_dir.exists()


@pytest.mark.parametrize("trial", [{}, {"DEBUG": "true"}, {"ANONYMOUS_ACCOUNT": "demo"}])
def test_processes_with_a_database_of_their_own_do_not_each_invent_a_key(tmp_path, trial):
    """Their keys would differ, so that none could read the wake-ups and sessions of another."""
    given = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", "SECRET_KEY": "", "DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", "import lemon_market.settings"]

    environment = {**os.environ, **given, **trial}
    answer = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)

    assert answer.returncode == 1
    assert "ImproperlyConfigured: SECRET_KEY is not set" in answer.stderr
