"""`manage.py check --deploy`: silent about what .env.example asks for, and never about a trial."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest
from django.core.checks import run_checks

from testsupport.installation import CHECKOUT

EXAMPLE = (CHECKOUT / ".env.example").read_text()


def deployment() -> dict[str, str]:
    """Every setting as the example has it, and a key as its comment asks for."""
    settings = dict(re.findall(r"^#(\w+)=(.*)$", EXAMPLE, re.MULTILINE))
    marked = re.findall(r"^# \(!\)[^\n]*\n(?:# [^\n]*\n)*#(\w+)=", EXAMPLE, re.MULTILINE)
    assert [name for name in marked if not settings[name]] == ["SECRET_KEY"]
    return settings | {"SECRET_KEY": "bX7kQz2m-" * 6}


def check(directory: Any, **settings: str) -> str:
    """What `check --deploy` says; nothing but its environment tells it what it is."""
    ours = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "DEBUG"]
    environment = ours | settings | {"DATA_DIR": str(directory)}
    answer = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in answer.stderr, answer.stderr
    return answer.stdout + answer.stderr


def test_a_deployment_as_the_example_describes_it_is_in_order(tmp_path):
    assert check(tmp_path, **deployment()).strip() == "System check identified no issues (5 silenced)."


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"ANONYMOUS_ACCOUNT": "demo"}, ["orders.E004"]),
        ({"DEBUG": "true"}, ["lemon_market.E004", "security.W018"]),
        ({"HOST": "0.0.0.0"}, ["lemon_market.E006"]),
        ({"HOST": "::"}, ["lemon_market.E006"]),
        ({"EXCHANGE_URL": ""}, ["lemon_market.E003"]),
        ({"DATABASE_URL": ""}, ["lemon_market.E001"]),
        ({"DATABASE_URL": "", "SECRET_KEY": ""}, ["lemon_market.E001", "lemon_market.E005"]),
        ({"SECRET_KEY": "short"}, ["security.W009"]),
        ({"SECRET_KEY": "a" * 60}, ["security.W009"]),
        ({"ORDER_TRANSPORT": "kafka", "KAFKA_BOOTSTRAP_SERVERS": ""}, ["lemon_market.E002"]),
        ({"HTTPS_ONLY": "false"}, ["lemon_market.E007", "security.W008"]),
        ({"TRUSTED_PROXIES": "0"}, ["lemon_market.E008"]),
        ({"NOTIFICATIONS_URL": "ws://live.example/ws/orders"}, ["lemon_market.E009"]),
        ({"ALLOWED_HOSTS": "*"}, ["lemon_market.E010"]),
    ],
)
def test_a_trial_is_refused(tmp_path, change, found):
    said = check(tmp_path, **deployment() | change)

    for id in found:
        assert f"({id})" in said


@pytest.mark.parametrize(
    "name", ["TRUSTED_PROXIES", "TOKEN_TTL", "TOKEN_CACHE_TTL", "FAILED_LOGINS_PER_MINUTE", "ADDRESS_REQUESTS_PER_SECOND"]
)
def test_a_limit_below_zero_is_refused(settings, name):
    setattr(settings, name, -1)

    assert "lemon_market.E011" in [message.id for message in run_checks()]
