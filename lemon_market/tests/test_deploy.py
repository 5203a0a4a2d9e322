"""What of deploy/ can be checked without systemd and Docker at work: that it is well formed, and names what exists."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands

from devstack.processes import WEB_LIMITS

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
INSTALLED = "/srv/lemon-market"


def words_after_manage(words: list[str]) -> list[str]:
    return [words[number + 1] for number, word in enumerate(words) if word == "manage.py"]


def test_there_is_a_unit_for_each_role() -> None:
    text = "".join(unit.read_text() for unit in UNITS)
    started = set(re.findall(r"manage\.py (\w+)", text)) | ({"web"} if "granian" in text else set())
    assert started == {
        *("web", "qcluster", "run_sweep", "run_update_consumer", "run_notification_service", "backup"),
        *("clearsessions", "prune_events"),
        *("run_exchange_consumer", "run_update_recorder", "run_outbox_relay"),
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt-get install systemd")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    # A name without spaces for a checkout whose own may have some.
    installed = tmp_path / "installed"
    installed.symlink_to(CHECKOUT)
    units = tmp_path / "units"
    units.mkdir()
    for unit in (DEPLOY / "systemd").iterdir():
        # An instance of each template; programs and user as they are here.
        name = unit.name.replace("@.", "@1.")
        text = unit.read_text().replace(INSTALLED, str(installed)).replace("User=lemon-market", "User=root")
        (units / name).write_text(text)
    verify = ["systemd-analyze", "verify", *map(str, units.iterdir())]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "lemon-market" in line]
    assert (done.returncode, ours) == (0, [])


def test_no_unit_is_given_up_while_the_database_is_away() -> None:
    """By default systemd starts a unit five times in ten seconds, and then never again."""
    for unit in UNITS:
        text = unit.read_text()
        assert ("Restart=always" in text) == ("StartLimitIntervalSec=0" in text), unit.name


def test_backups_are_kept_by_their_number_and_none_is_removed_for_its_age() -> None:
    """When backups stop, the last good one stays."""
    assert "manage.py backup --keep ${KEEP_BACKUPS}\n" in (DEPLOY / "systemd" / "lemon-market-backup.service").read_text()
    assert not [unit.name for unit in UNITS if re.search(r"\b(find|rm|-delete|-mtime)\b", unit.read_text())]


def test_the_web_process_is_bounded_wherever_it_runs() -> None:
    assert f" {WEB_LIMITS} " in (DEPLOY / "systemd" / "lemon-market-web.service").read_text()
    [command] = re.findall(r"^CMD (.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert f" {WEB_LIMITS} " in " ".join(json.loads(command))


def test_a_browser_on_this_machine_reaches_what_compose_starts() -> None:
    """Over plain HTTP, which a database of one's own would otherwise have redirected to where nothing is."""
    environment = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["x-role"]["environment"]
    assert environment["HTTPS_ONLY"] == "${HTTPS_ONLY:-false}"


def test_compose_starts_commands_that_exist_and_refers_to_services_that_it_has() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    commands = get_commands()
    for service in services.values():
        assert set(words_after_manage(service.get("command", []))) <= commands.keys()
        assert set(service.get("depends_on", {})) <= services.keys()
        for shared in ("pid", "network_mode"):
            if shared in service:
                assert service[shared].removeprefix("service:") in services


def test_the_image_holds_every_package_of_ours_and_nothing_that_is_not_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {source for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for source in shlex.split(line)[:-1]}
    assert all((CHECKOUT / source).exists() for source in copied)
    packages = {path.parent.name for path in CHECKOUT.glob("*/__init__.py")} - {"benchmarks", "chaos", "testsupport"}
    assert packages <= copied
    let_in = set(re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    assert let_in == copied
