"""Generates load with wrk (`apt-get install wrk`)."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import BenchmarkError, run
from benchmarks.figures import Figure

SCRIPTS = Path(__file__).parent / "load"
# More threads would only take time from the server on the same machine.
THREADS = 2
# Longer than any answer takes, so that wrk counts it as late rather than lost.
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw. `refused` answers had a status of 400 or more; `broken` ones never came."""

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int

    @property
    def rate(self) -> float:
        return self.requests / self.duration_s


def read(output: str) -> Load:
    """Parse the last line of wrk's output. Raises BenchmarkError when it is not our summary."""
    try:
        summary = json.loads(output.strip().splitlines()[-1])
        return Load(
            requests=summary["requests"],
            duration_s=summary["duration"] / 1e6,
            p50_ms=summary["p50"] / 1e3,
            p99_ms=summary["p99"] / 1e3,
            refused=summary["refused"],
            broken=summary["broken"],
        )
    except (ValueError, LookupError) as error:
        raise BenchmarkError(f"wrk says {output.strip()[-200:]!r}") from error


def post_orders(
    url: str, tokens: Sequence[str], *, seconds: float, connections: int, batch: int = 0, per_s: float | None = None
) -> Load:
    """Post new orders over so many connections, with each token in turn, in batches of `batch` or, if it is 0, one by one.

    `per_s` limits the requests per second, approximately and as long as answers come fast enough. Raises BenchmarkError.
    """
    pause_ms = 0 if per_s is None else max(1, round(1000 * connections / per_s))
    with tempfile.NamedTemporaryFile("w", suffix=".tokens") as file:
        file.writelines(f"{token}\n" for token in tokens)
        file.flush()
        return _run(url, [], ["orders.lua", "summary.lua"], [str(batch), file.name, str(pause_ms)], seconds, connections)


def get(url: str, headers: Sequence[str], *, seconds: float, connections: int) -> Load:
    """Request one URL again and again. Raises BenchmarkError, also when answers are refused."""
    load = _run(url, headers, ["summary.lua"], [], seconds, connections)
    if load.refused or load.broken or not load.requests:
        raise BenchmarkError(f"{url}: {load.refused} of {load.requests} answers refused, {load.broken} broken")
    return load


def figures(load: Load, *, orders_per_request: int = 1) -> list[Figure]:
    """Accepted orders per second, and how long the answers took."""
    accepted = (load.requests - load.refused) * orders_per_request
    return [
        Figure("accepted", accepted / load.duration_s, "orders/s"),
        Figure("p50", load.p50_ms, "ms"),
        Figure("p99", load.p99_ms, "ms"),
        Figure("refused or broken", load.refused + load.broken, "answers"),
    ]


def _run(
    url: str, headers: Sequence[str], scripts: Sequence[str], arguments: Sequence[str], seconds: float, connections: int
) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join((SCRIPTS / name).read_text() for name in scripts))
        script.flush()
        command = ["wrk", f"-t{min(THREADS, connections)}", f"-c{connections}", f"-d{round(seconds)}s", f"--timeout={TIMEOUT_S}s"]
        command += [word for header in headers for word in ("-H", header)]
        return read(run([*command, "-s", script.name, url, "--", *arguments], within_s=seconds + 2 * TIMEOUT_S))
