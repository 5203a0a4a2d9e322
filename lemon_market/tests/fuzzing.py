"""Asks a server thousands of questions made from its own description (schemathesis), and holds its answers against that.

    DJANGO_SETTINGS_MODULE=lemon_market.settings python -m lemon_market.tests.fuzzing [--cases 10000] [--seed N]

starts a web process and a PostgreSQL of its own. Nothing may be answered with a 5xx, with a status or a content type that is
not described, or in a shape that is not; nobody without credentials may be let in; what the description forbids has to
be refused.
"""

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import django

from testsupport.web_process import CHECKOUT, WebProcess

CALLS = 5
# What is left out: a description cannot say that a market order has no limit price, or that a time has not passed, so that
# what it allows may be refused all the same.
LEFT_OUT = "positive_data_acceptance"
SETTINGS = {"ANONYMOUS_ACCOUNT": "", "HTTPS_ONLY": "false", "FAILED_LOGINS_PER_MINUTE": "0"}


def fuzz(web: WebProcess, directory: Path, cases: int, seed: int) -> tuple[int, Counter[str]]:
    """Ask about so many questions; returns schemathesis' exit code and how often each status was answered."""
    cassette = directory / "cases.ndjson"
    address = f"http://127.0.0.1:{web.port}"
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/schema", "--url", address),
        *("--header", f"Authorization: Token {web.token}", "--checks", "all", "--exclude-checks", LEFT_OUT),
        *("--phases", "examples,coverage,fuzzing", "--mode", "all", "--max-examples", str(max(1, cases // CALLS))),
        *("--seed", str(seed), "--continue-on-failure", "--generation-database", "none", "--no-color"),
        *("--report", "ndjson", "--report-ndjson-path", str(cassette), "--request-timeout", "30"),
    ]
    code = subprocess.run(command, cwd=directory, check=False).returncode
    return code, statuses(cassette)


def statuses(cassette: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in cassette.read_text().splitlines():
        event = json.loads(line)
        for recorded in event.get("ScenarioFinished", {}).get("recorder", {}).get("interactions", {}).values():
            found[str((recorded.get("response") or {}).get("status_code"))] += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"Seed {options.seed}", flush=True)  # noqa: T201 - a program of its own
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        web = WebProcess(directory, **SETTINGS, SECRET_KEY=secrets.token_urlsafe(48))
        try:
            code, answers = fuzz(web, directory, options.cases, options.seed)
        finally:
            web.stop()
    print(f"{answers.total()} questions; answers by status: {dict(sorted(answers.items()))}")  # noqa: T201
    if answers.total() < options.cases:
        print(f"These are fewer than the {options.cases} that were wanted.")  # noqa: T201
        return 1
    return code


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    django.setup()
    sys.exit(main())
