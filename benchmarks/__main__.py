"""`make bench`: runs every measure for every contender in turn, and writes RESULTS.md.

python -m benchmarks [--rounds N] [--seconds S] [--only MEASURE,...] [--minutes M] ...
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import psycopg

from benchmarks import chart, machine, peer_contenders, report
from benchmarks.children import CHECKOUT, BenchmarkError, run, stop_in_order
from benchmarks.contenders import CELERY, DJANGO_Q, OURS, PGBENCH, PROCRASTINATE, SEED, Contender
from benchmarks.figures import Results
from benchmarks.measure import Measure
from benchmarks.measures import accepting, appending, growing, notifying, placing, reaching, resting
from benchmarks.ours import lemon_market
from benchmarks.stage import Options, Stage
from devstack.local_install import LocalInstallError
from devstack.postgres_programs import PostgresError

MEASURES = [
    accepting.ONE,
    accepting.BATCHES,
    placing.DRAINED,
    reaching.REACHING,
    notifying.FLOOD,
    notifying.CALM,
    notifying.MANY_CLIENTS,
    appending.APPENDING,
    growing.GROWING,
    resting.RESTING,
    placing.WHOLE_SYSTEM,
    accepting.MANY_ACCOUNTS,
    placing.DRAINED_OF_MANY_ACCOUNTS,
    accepting.WHILE_PLACING,
]
LAST_TURN_MINUTES = 15.0
DIRECTORY = CHECKOUT / ".local" / "bench"
NEEDED = {"wrk": "wrk", "redis-server": "redis-server"}


def main() -> None:
    options, only, minutes, output = read_arguments()
    stop_in_order()
    # End even if something hangs.
    signal.alarm(round((minutes + LAST_TURN_MINUTES) * 60))
    described = machine.describe()
    try:
        check_programs()
        results = measure_all(options, only, time.monotonic() + minutes * 60)
    except (BenchmarkError, PostgresError, LocalInstallError) as error:
        sys.exit(str(error))
    output.mkdir(parents=True, exist_ok=True)
    text = report.markdown(results, only, described, options)
    (output / "RESULTS.md").write_text(text)
    (output / report.PICTURE).write_text(chart.draw(report.first_figures(results, only), OURS))
    sys.stdout.write(text + f"\nWritten to {output}.\n")
    if results.problems:
        sys.exit(1)


def read_arguments() -> tuple[Options, list[Measure], float, Path]:
    defaults = Options(rounds=3, seconds=10)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=defaults.rounds)
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="length of each measure, warm-up excluded")
    parser.add_argument(
        "--sustained-seconds", type=float, default=defaults.sustained_seconds, help="length of measures of our own placing"
    )
    parser.add_argument("--only", default="", help="measures, separated by commas: " + ", ".join(each.key for each in MEASURES))
    parser.add_argument("--concurrency", type=int, default=defaults.concurrency, help="placements at once in a peer's worker")
    parser.add_argument("--django-q-workers", type=int, default=defaults.django_q_workers)
    parser.add_argument("--large", type=int, default=defaults.large, help="orders in the large database")
    parser.add_argument("--minutes", type=float, default=240, help="start no round after this time")
    parser.add_argument("--output", type=Path, help="directory; default: benchmarks, or .local/bench with --only")
    given = parser.parse_args()
    wanted = [name for name in given.only.split(",") if name]
    if unknown := set(wanted) - {measure.key for measure in MEASURES}:
        parser.error(f"there is no measure {', '.join(sorted(unknown))}")
    options = Options(
        rounds=given.rounds,
        seconds=given.seconds,
        sustained_seconds=given.sustained_seconds,
        concurrency=given.concurrency,
        django_q_workers=given.django_q_workers,
        large=given.large,
    )
    # The committed RESULTS.md comes from a run of everything.
    output = given.output or (DIRECTORY if wanted else Path(__file__).parent)
    return options, [each for each in MEASURES if not wanted or each.key in wanted], given.minutes, output


def check_programs() -> None:
    """Raise BenchmarkError, with the command that installs them, when programs are missing."""
    missing = []
    for program, package in NEEDED.items():
        try:
            run(["sh", "-c", f"command -v {program}"], within_s=10)
        except BenchmarkError:
            missing.append(package)
    if missing:
        raise BenchmarkError(f"missing: {', '.join(missing)}. On Debian: apt-get install {' '.join(missing)}")


def measure_all(options: Options, measures: Sequence[Measure], deadline: float) -> Results:
    """Run the measures in turn until all are done or the time is up."""
    results = Results()
    stage = Stage(DIRECTORY, options)
    try:
        contender = contenders_on(stage)
        for measure in measures:
            for number in range(1, options.rounds + 1):
                if time.monotonic() > deadline:
                    results.add_problem(f"{measure.key}, round {number}: the time was up")
                    break
                for name in measure.contenders:
                    try:
                        figures = measure.runs[name](stage, contender(name))
                    except (BenchmarkError, psycopg.Error, OSError) as error:
                        # The others are still measured, and the report names the problem.
                        results.add_problem(f"{measure.key}, round {number}, {name}: {error}")
                    else:
                        results.add(measure.key, name, figures)
    finally:
        stage.close()
    return results


def contenders_on(stage: Stage) -> Callable[[str], Contender]:
    """Return a function that prepares a contender when it is first asked for."""
    makers: dict[str, Callable[[Stage], Contender]] = {
        OURS: lemon_market,
        PGBENCH: lambda stage: accepting.as_limit(made(OURS)),
        notifying.GENERATORS: lambda stage: made(OURS),
        SEED: peer_contenders.seed,
        CELERY: peer_contenders.celery,
        PROCRASTINATE: peer_contenders.procrastinate,
        DJANGO_Q: peer_contenders.django_q,
        growing.FEW: growing.few,
        growing.MANY: growing.many,
    }

    @cache
    def made(name: str) -> Contender:
        return makers[name](stage)

    return made


if __name__ == "__main__":
    main()
