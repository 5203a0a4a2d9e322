"""The peers as contenders: their environments and databases are prepared on first use."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.children import run
from benchmarks.contenders import CELERY, DJANGO_Q, PROCRASTINATE, SEED, WEB, WORKERS, Contender
from benchmarks.stage import Stage
from devstack.free_ports import free_port

SOURCES = Path(__file__).parent / "peers"
INSTALL_S = 600.0
PREPARE_S = 60.0
# As many as there are cores: two event loops use both, and the exchange, PostgreSQL and wrk need some time too.
PROCESSES = 2
PROGRESS = "SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'pending') FROM orders"


def seed(stage: Stage) -> Contender:
    """One process, started as its instructions say."""
    return _fastapi(stage, SEED, "seed", workers=[])


def celery(stage: Stage) -> Contender:
    """Two uvicorn processes and two Celery workers with gevent."""
    options = ["--pool=gevent", f"--concurrency={stage.options.concurrency}", "--loglevel=ERROR"]
    workers = [["celery", "-A", "worker", "worker", *options, "-n", f"worker{number}@bench"] for number in range(PROCESSES)]
    return _fastapi(stage, CELERY, "celery_redis", workers)


def procrastinate(stage: Stage) -> Contender:
    """Two uvicorn processes and two Procrastinate workers, which delete successful jobs."""
    worker = ["procrastinate", "--app=worker.queue", "worker", f"--concurrency={stage.options.concurrency}"]
    workers = [[*worker, "--delete-jobs=successful"]] * PROCESSES
    return _fastapi(stage, PROCRASTINATE, "procrastinate_queue", workers, queue_tables=["procrastinate_jobs"])


def django_q(stage: Stage) -> Contender:
    """Granian with two processes of 8 threads, and one cluster of as many workers as PostgreSQL has connections for."""
    python, port, database = environment_of(stage, "drf_django_q"), free_port(), "bench_drf_django_q"
    directory = SOURCES / "drf_django_q"
    environment = _environment(stage, database, stage.options.django_q_workers) | {"DJANGO_SETTINGS_MODULE": "broker.settings"}
    stage.make_database(database)
    migrate: list[str | Path] = [python, "-m", "django", "migrate", "--run-syncdb"]
    run(migrate, within_s=PREPARE_S, environment=environment, cwd=directory)
    options = [
        "--interface",
        "wsgi",
        "--no-ws",
        "--log-level",
        "error",
        "--workers",
        str(PROCESSES),
        "--blocking-threads",
        "8",
    ]
    web: list[str | Path] = [
        python,
        "-m",
        "granian",
        *options,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "broker.wsgi:application",
    ]
    return Contender(
        name=DJANGO_Q,
        database=database,
        web_port=port,
        services={WEB: [web], WORKERS: [[python, "-m", "django", "qcluster"]]},
        environment=environment,
        tables=["orders", "django_q_ormq", "django_q_task"],
        progress=PROGRESS,
        directory=directory,
    )


def environment_of(stage: Stage, name: str) -> Path:
    """The interpreter of a peer's own virtual environment, which has exactly its requirements installed."""
    directory, requirements = stage.directory / f"venv-{name}", SOURCES / name / "requirements.txt"
    python, installed = directory / "bin" / "python", directory / "installed.txt"
    if not installed.exists() or installed.read_text() != requirements.read_text():
        shutil.rmtree(directory, ignore_errors=True)
        sys.stderr.write(f"Installing the peer {name} ...\n")
        run([sys.executable, "-m", "venv", directory], within_s=INSTALL_S)
        command: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
        run(command, within_s=INSTALL_S)
        installed.write_text(requirements.read_text())
    return python


def _fastapi(
    stage: Stage, title: str, name: str, workers: Sequence[Sequence[str]], queue_tables: Sequence[str] = ()
) -> Contender:
    """Prepare a FastAPI peer; `workers` are modules to run, with their options."""
    python, port, database, directory = environment_of(stage, name), free_port(), f"bench_{name}", SOURCES / name
    environment = _environment(stage, database, stage.options.concurrency)
    stage.make_database(database)
    with stage.connect(database) as connection:
        is_prepared = connection.execute("SELECT to_regclass('orders')").fetchone() != (None,)
    if not is_prepared:
        run([python, "worker.py" if workers else "api.py"], within_s=PREPARE_S, environment=environment, cwd=directory)
    processes = PROCESSES if workers else 1
    options = ["--port", str(port), "--workers", str(processes), "--log-level", "error", "--no-access-log"]
    return Contender(
        name=title,
        database=database,
        web_port=port,
        services={
            WEB: [[python, "-m", "uvicorn", "api:app", *options]],
            WORKERS: [[python, "-m", *worker] for worker in workers],
        },
        environment=environment,
        tables=["orders", *queue_tables],
        progress=PROGRESS,
        directory=directory,
        places_while_accepting=not workers,
        needs_redis=title == CELERY,
    )


def _environment(stage: Stage, database: str, concurrency: int) -> dict[str, str]:
    return {
        "PYTHONPATH": str(SOURCES),
        "PEER_DATABASE": stage.database_url(database),
        "PEER_EXCHANGE": stage.exchange_url,
        "PEER_REDIS": stage.redis_url,
        "PEER_CONCURRENCY": str(concurrency),
    }
