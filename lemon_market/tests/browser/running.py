import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from testsupport.installation import CHECKOUT, Installation


@contextmanager
def running(installation: Installation) -> Iterator[None]:
    """The installation, up, with the accounts of the tests' people."""
    installation.ensure_up()
    command = [sys.executable, "-m", "lemon_market.tests.browser.people"]
    environment = installation.environment | {"DJANGO_SETTINGS_MODULE": "lemon_market.settings"}
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True)
    try:
        yield
    finally:
        installation.stop()
