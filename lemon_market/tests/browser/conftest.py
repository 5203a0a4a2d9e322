"""A browser and a running system. Every page is watched: what it asks of another origin, or complains of, fails the test."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect

from lemon_market.tests.browser import chromium
from lemon_market.tests.browser.site import Site
from lemon_market.tests.installation import CHECKOUT, Installation

# The machine may be busy with the rest of the system.
PATIENCE_MS = 20_000


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    if request.config.option.markexpr != "browser":
        pytest.skip("needs a browser: `make test-browser` gets one and runs these")
    program = chromium.find()
    assert program, f"none of {', '.join(chromium.NAMES)} is on the PATH: `make test-browser` says how to get it"
    expect.set_options(timeout=PATIENCE_MS)
    with chromium.launched(program) as browser:
        yield browser


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
        assert installation.up is not None
        installation.up.terminate()
        installation.up.wait(30)


@pytest.fixture(scope="session")
def installation(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("browser"))
    with running(installation):
        yield installation


@pytest.fixture
def site(browser: Browser, installation: Installation) -> Iterator[Site]:
    """Everybody's pages; a console error or a request to another origin on any of them fails the test."""
    site = Site(browser, installation)
    yield site
    site.close()
    assert site.unexpected() == []
