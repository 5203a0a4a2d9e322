"""A short run of `make fuzz`: the same questions each time."""

import secrets
from pathlib import Path

from lemon_market.tests.fuzzing import SETTINGS, fuzz
from testsupport.web_process import WebProcess


def test_the_api_answers_as_it_is_described(tmp_path: Path) -> None:
    web = WebProcess(tmp_path, **SETTINGS, SECRET_KEY=secrets.token_urlsafe(48))
    try:
        code, answers = fuzz(web, tmp_path, cases=100, seed=1)
    finally:
        web.stop()
    assert code == 0
    # Not everything was refused, and nothing failed.
    assert answers["200"]
    assert answers["202"]
    assert answers.total() > 300
    assert not [status for status in answers if not status.startswith(("2", "4"))]
