from collections.abc import Iterator

import pytest

from testsupport.web_process import WebProcess


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """One for all tests; whoever breaks its database mends it."""
    process = WebProcess(tmp_path_factory.mktemp("web"))
    yield process
    process.stop()
