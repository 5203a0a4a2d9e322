"""A browser and a running system. Every page is watched: what it asks of another origin, or complains of, fails the test."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from lemon_market.tests.browser import chromium
from lemon_market.tests.browser.running import running
from lemon_market.tests.browser.site import Site
from testsupport.installation import Installation


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where no browser is asked for, one skipped test says how to get one, and stands for all that need one."""
    if config.option.markexpr == "browser":
        return
    ours = [item for item in items if item.get_closest_marker("browser")]
    if ours:
        reason = f"{len(ours)} tests need a browser: `make test-browser` gets one and runs them"
        ours[0].add_marker(pytest.mark.skip(reason=reason))
        left_out = set(ours[1:])
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = chromium.find()
    assert program, f"none of {', '.join(chromium.NAMES)} is on the PATH: `make test-browser` says how to get it"
    with chromium.launched(program) as browser:
        yield browser


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
